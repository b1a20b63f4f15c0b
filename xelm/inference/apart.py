"""Scores of texts that experts with pieces of their own answer.

Where the experts of a stretch read with one tokenizer, the stretch is scored in its tokens, after the text before it.
Where they read different pieces, it is mixed byte by byte (`xelm.vocabulary.byte_mixture`): if weights follow the
experts' own predictions, from the text's beginning to the last stretch that several experts answer.
Shape letters: `K` experts, `T` tokens or bytes of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from router.letters import utf8_bytes
from router.mixture.experts import MixedExperts
from router.scoring.growing import GrowingWeights, score_growing
from router.scoring.tokens import ScoringOptions
from xelm.inference.completions import answer_ids
from xelm.vocabulary.byte_mixture import ByteMixture
from xelm.vocabulary.of_run import Vocabularies

# A byte-level token may end inside a character, which decodes to this sign until the rest has come.
_UNFINISHED = "\ufffd"


@dataclass(frozen=True)
class ApartScorer:
    """Scores texts whose experts read other pieces than the run's."""

    vocabularies: Vocabularies
    experts: MixedExperts
    options: ScoringOptions | None
    context: int
    """Most tokens that an expert reads."""

    def growing(self, text: str, ids: Sequence[int], growing: GrowingWeights, tokenizer: Any) -> np.ndarray:
        """Log-probabilities of a text, stretch by stretch, in nats: of tokens, or of bytes.

        Args:
            text: The text.
            ids: Its tokens by the run's tokenizer, in which the stretches are counted.
            growing: Weights of the experts.
            tokenizer: The run's tokenizer.
        """
        edges = [0, *(self._place(text, ids[: start + 1], tokenizer) for start in growing.starts[1:])]
        starts, weights = _joined(edges, growing.weights)
        stops = [*starts[1:], len(text)]
        together = self._mixed_stretches(weights) if self.experts.dynamic else 0
        parts = []
        if together:
            in_bytes = tuple(_num_bytes(text[:start]) for start in starts[:together])
            parts.append(
                self._bytes(text[: stops[together - 1]], GrowingWeights(in_bytes, np.array(weights[:together])))
            )
        parts += [
            self.answer(text[:start], text[start:stop], weights_K)
            for start, stop, weights_K in zip(starts[together:], stops[together:], weights[together:], strict=True)
            if stop > start
        ]
        return np.concatenate([*parts, np.zeros(0)])

    def _mixed_stretches(self, weights: Sequence[np.ndarray]) -> int:
        """How many stretches are mixed byte by byte if weights follow the experts: up to the last of several experts,
        and none if one tokenizer reads the whole text under the same weights."""
        if len(weights) == 1 and self.vocabularies.one_tokenizer(weights[0]) is not None:
            return 0
        several = [number for number, weights_K in enumerate(weights, 1) if (weights_K > 0).sum() > 1]
        return several[-1] if several else 0

    def answer(self, prefix: str, text: str, weights_K: np.ndarray) -> np.ndarray:
        """Log-probabilities of a text after a prefix, under the same weights from beginning to end.

        They are of the tokens of all experts with weight if these are the same, else of bytes.
        """
        tokenizer = self.vocabularies.one_tokenizer(weights_K)
        if tokenizer is not None:
            return self._tokens(prefix, text, weights_K, tokenizer)
        return self._bytes(prefix + text, GrowingWeights.constant(weights_K))[_num_bytes(prefix) :]

    def _tokens(self, before: str, text: str, weights_K: np.ndarray, tokenizer: Any) -> np.ndarray:
        [ids], [num_before] = answer_ids([before], [text], tokenizer)
        [log_probs_T] = score_growing([ids], [GrowingWeights.constant(weights_K)], self.experts, self.options)
        return log_probs_T[max(0, num_before - 1) :]

    def _bytes(self, text: str, growing: GrowingWeights) -> np.ndarray:
        return self._mixture.log_probs(text, growing, dynamic=self.experts.dynamic)

    @property
    def _mixture(self) -> ByteMixture:
        return ByteMixture(self.vocabularies, self.experts.models, self.context)

    def _place(self, text: str, ids: Sequence[int], tokenizer: Any) -> int:
        """How many characters of the text the tokens hold whole."""
        read = tokenizer.decode(list(ids), skip_special_tokens=True).rstrip(_UNFINISHED)
        return min(len(read), len(text))


def _num_bytes(text: str) -> int:
    return len(utf8_bytes(text))


def _joined(starts: Sequence[int], weights: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """Stretches that begin where the one before ends in the same weights become one."""
    kept_starts, kept = [starts[0]], [weights[0]]
    for start, weights_K in zip(starts[1:], weights[1:], strict=True):
        if start <= kept_starts[-1]:
            kept[-1] = weights_K
        elif not np.array_equal(kept[-1], weights_K):
            kept_starts.append(start)
            kept.append(weights_K)
    return kept_starts, kept
