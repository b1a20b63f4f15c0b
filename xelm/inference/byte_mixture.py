"""Mixtures of experts that read different pieces: exact at the level of bytes, which all of them share.

Shape letters: `B` texts, `K` experts, `T` bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clustering.errors import BadInput
from router.letters import utf8_bytes
from router.scoring.texts import Score, mix_token_log_probs
from xelm.inference.vocabularies import Vocabularies
from xelm.vocabulary.byte_model import ByteModel, cannot_read_bytes


class ByteMixture:
    """The experts of a run, read byte by byte.

    Args:
        vocabularies: The run's vocabularies.
        get_model: From an expert's name to its model.
        context: Most tokens that an expert reads.
    """

    def __init__(self, vocabularies: Vocabularies, get_model: Callable[[str], Any], context: int):
        self._vocabularies, self._get_model, self._context = vocabularies, get_model, context

    def score(self, texts: Sequence[str], weights_BK: np.ndarray, *, dynamic: float) -> list[Score]:
        """Score texts under mixtures; the `tokens` of a score are its bytes.

        Args:
            texts: B texts, each within one context.
            weights_BK: Weights of the experts, shape (B, K), rows summing to 1.
            dynamic: Whether the weights follow the text, byte by byte (`bayes`).

        Raises:
            BadInput: If an expert's tokenizer has no bytes, or a text does not fit into the context.
        """
        scores = []
        for text, weights_K in zip(texts, weights_BK, strict=True):
            clean = utf8_bytes(text).decode()
            parts = [(weight, reader.log_probs(clean)) for weight, reader in self._members(weights_K)]
            log_probs_T = mix_token_log_probs(parts, dynamic) if clean else np.zeros(0)
            scores.append(Score(nats=float(-log_probs_T.sum()), tokens=len(log_probs_T), bytes=len(clean.encode())))
        return scores

    def next_bytes(self, text: str, weights_K: np.ndarray, *, dynamic: float) -> np.ndarray:
        """Probabilities of the byte after a text: 256 bytes, then the text's end, shape (257,), summing to 1."""
        clean = utf8_bytes(text).decode()
        raw = np.frombuffer(clean.encode(), dtype=np.uint8)
        logs, rows = [], []
        for weight, reader in self._members(weights_K):
            all_T = reader.next_bytes(clean)
            so_far = float(all_T[np.arange(len(raw)), raw].sum())
            logs.append(np.log(weight) + dynamic * so_far)
            rows.append(all_T[-1])
        shares = np.exp(np.array(logs) - np.logaddexp.reduce(logs))
        return np.asarray(shares @ np.exp(np.array(rows)))

    def _members(self, weights_K: np.ndarray) -> list[tuple[float, ByteModel]]:
        found = []
        for name, weight in zip(self._vocabularies.names, weights_K, strict=True):
            if weight <= 0:
                continue
            tokenizer = self._vocabularies.tokenizer(name)
            if why := cannot_read_bytes(tokenizer):
                raise BadInput(
                    f"{name} cannot be mixed with experts that read other pieces: {why}. Use top1, or the name of one "
                    "expert."
                )
            found.append((float(weight), ByteModel(self._get_model(name), tokenizer, self._context)))
        return found
