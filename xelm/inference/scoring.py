"""How probable texts are to a run's experts, which the text before each token, a prefix, or the text itself chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from router.mixture.experts import MixedExperts, ModelSource
from router.routes.policy import NamedExpert, Policy
from router.scoring.growing import GrowingWeights, score_growing
from router.scoring.spans import score_spans
from router.scoring.texts import Score, score_of, score_texts
from router.scoring.tokens import ScoringOptions
from xelm.inference.apart import ApartScorer
from xelm.inference.completions import answer_ids, prompt_ids
from xelm.inference.growing import growing_weights
from xelm.inference.run_router import RunRouter
from xelm.vocabulary.of_run import Vocabularies


@dataclass(frozen=True)
class Scorer:
    """Scores texts under one policy."""

    router: RunRouter
    tokenizer: Any
    models: ModelSource
    policy: Policy
    options: ScoringOptions | None = None
    context: int = 0
    """Most tokens that an expert reads; for mixtures byte by byte."""

    def causal(self, texts: Sequence[str]) -> list[Score]:
        """Each token by the experts that the text before it calls for."""
        add_prefix = self.options.add_prefix if self.options else True
        sequences = prompt_ids(texts, self.tokenizer, add_prefix=add_prefix)
        found = self.growing(texts, self.weights_along(sequences), sequences)
        return [score_of(text, log_probs_T) for text, log_probs_T in zip(texts, found, strict=True)]

    def growing(
        self, texts: Sequence[str], growing: Sequence[GrowingWeights], sequences: Sequence[Sequence[int]] | None = None
    ) -> list[np.ndarray]:
        """Log-probabilities of texts under weights along them, in nats.

        Args:
            texts: Texts.
            growing: The weights of each, stretch by stretch of its tokens.
            sequences: Their tokens by the run's tokenizer, if known.
        """
        rows = sequences or prompt_ids(texts, self.tokenizer)
        apart = [row for row, weights in enumerate(growing) if self._vocabularies.read_apart(weights.weights)]
        if not apart:
            return self._growing(rows, growing)
        rest = [row for row in range(len(rows)) if row not in set(apart)]
        together = self._growing([rows[row] for row in rest], [growing[row] for row in rest])
        found = dict(zip(rest, together, strict=True))
        found |= {row: self.apart.growing(texts[row], rows[row], growing[row], self.tokenizer) for row in apart}
        return [found[row] for row in range(len(rows))]

    @property
    def experts(self) -> MixedExperts:
        """The experts that answer, and the base."""
        return MixedExperts(self.router.names, self.models, self.policy.dynamic)

    @property
    def apart(self) -> ApartScorer:
        """Scores texts whose experts read other pieces than the run's."""
        return ApartScorer(self._vocabularies, self.experts, self.options, self.context)

    def answers(self, texts: Sequence[str], prefixes: Sequence[str]) -> list[Score]:
        """Texts after their prefixes, by the weights that `generate` would answer the prefixes with."""
        distinct = list(dict.fromkeys(prefixes))
        weights_DK = self._weights(distinct)
        row_of = {prefix: row for row, prefix in enumerate(distinct)}
        if self._vocabularies.read_apart(weights_DK):
            pairs = zip(texts, prefixes, strict=True)
            return [score_of(t, self.apart.answer(p, t, weights_DK[row_of[p]])) for t, p in pairs]
        growing = [GrowingWeights.constant(weights_DK[row_of[prefix]]) for prefix in prefixes]
        sequences, num_prompt = answer_ids(prefixes, texts, self.tokenizer)
        found = self._growing(sequences, growing)
        return [
            score_of(text, log_probs_T[max(0, num - 1) :])
            for text, log_probs_T, num in zip(texts, found, num_prompt, strict=True)
        ]

    def wholes(self, texts: Sequence[str]) -> list[Score]:
        """Each text by the weights of the whole of it."""
        weights_BK = self._weights(texts)
        if self._vocabularies.read_apart(weights_BK):
            found = self.growing(texts, [GrowingWeights.constant(weights_K) for weights_K in weights_BK])
            return [score_of(text, log_probs_T) for text, log_probs_T in zip(texts, found, strict=True)]
        return score_texts(texts, self.tokenizer, weights_BK, self.experts, self.options)

    def parts(self, texts: Sequence[str]) -> list[Score]:
        """Each part of a text, cut where its language changes, by the weights of the part."""
        cuts = [self.router.cut(text) for text in texts]
        weights = [self.router.weights(routes, self.policy) for routes in self.router.span_routes(texts, cuts)]
        self._vocabularies.refuse_spans(weights)
        return score_spans(texts, cuts, weights, self.tokenizer, self.experts, self.options)

    def weights_along(
        self, sequences: Sequence[Sequence[int]], num_prompt: Sequence[int] | None = None
    ) -> list[GrowingWeights]:
        """Weights for the token after each token, from the text up to there.

        Args:
            sequences: Token ids of texts, with the start token.
            num_prompt: For each text, how many of its tokens are a prompt, whose weights hold from its end on.
        """
        if isinstance(self.policy, NamedExpert):
            chosen_K = np.array([name == self.policy.expert for name in self.router.names], dtype=np.float64)
            return [GrowingWeights.constant(chosen_K) for _ in sequences]
        return growing_weights(sequences, self.tokenizer, self._weights, num_prompt=num_prompt)

    @property
    def _vocabularies(self) -> Vocabularies:
        return self.router.vocabularies

    def _weights(self, texts: Sequence[str]) -> np.ndarray:
        return self.router.weights(self.router.routes(texts), self.policy)

    def _growing(self, sequences: Sequence[Sequence[int]], growing: Sequence[GrowingWeights]) -> list[np.ndarray]:
        return score_growing(sequences, growing, self.experts, self.options)
