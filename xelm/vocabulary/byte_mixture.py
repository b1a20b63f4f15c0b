"""Mixtures of experts that read different pieces: exact at the level of bytes, which all of them share.

Shape letters: `K` experts, `S` stretches of a text, `T` bytes.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from clustering.errors import BadInput
from router.letters import utf8_bytes
from router.mixture.experts import ModelSource
from router.scoring.growing import GrowingWeights, mix_growing
from xelm.vocabulary.byte_model import ByteModel
from xelm.vocabulary.of_run import Vocabularies


class ByteMixture:
    """The experts of a run, read byte by byte.

    Args:
        vocabularies: The run's vocabularies.
        models: The source of the experts' models.
        context: Most tokens that an expert reads.
    """

    def __init__(self, vocabularies: Vocabularies, models: ModelSource, context: int):
        self._vocabularies, self._models, self._context = vocabularies, models, context

    def log_probs(self, text: str, growing: GrowingWeights, *, dynamic: float) -> np.ndarray:
        """Log-probabilities of a text's bytes under a mixture, shape (T,), in nats.

        Args:
            text: The text.
            growing: Weights of the experts; stretches begin at bytes.
            dynamic: How far weights also follow the experts' own predictions, byte by byte.

        Raises:
            BadInput: If an expert's tokenizer does not give the text back byte by byte.
        """
        clean = utf8_bytes(text).decode()
        weighed_K = np.flatnonzero(growing.weights.sum(axis=0) > 0)
        readers = {int(column): self._reader(int(column), clean) for column in weighed_K}
        names, remember = self._vocabularies.names, self._vocabularies.byte_log_probs
        parts = {
            column: remember(names[column], clean, partial(reader.log_probs, clean))
            for column, reader in readers.items()
        }
        return mix_growing(growing, parts, len(clean.encode()), dynamic)

    def next_bytes(self, text: str, weights_K: np.ndarray, *, dynamic: float) -> np.ndarray:
        """Probabilities of the byte after a text: 256 bytes, then the text's end, shape (257,), summing to 1."""
        clean = utf8_bytes(text).decode()
        raw = np.frombuffer(clean.encode(), dtype=np.uint8)
        logs, rows = [], []
        for column in np.flatnonzero(weights_K > 0):
            all_T = self._reader(int(column), clean).next_bytes(clean)
            so_far = float(all_T[np.arange(len(raw)), raw].sum())
            logs.append(np.log(weights_K[column]) + dynamic * so_far)
            rows.append(all_T[-1])
        shares = np.exp(np.array(logs) - np.logaddexp.reduce(logs))
        return np.asarray(shares @ np.exp(np.array(rows)))

    def _reader(self, column: int, text: str) -> ByteModel:
        """The model of an expert, which can read the text.

        Raises:
            BadInput: If its tokenizer does not give the text back byte by byte.
        """
        name = self._vocabularies.names[column]
        try:
            spelling = self._vocabularies.spelling(name)
            spelling.check(text)
        except BadInput as error:
            raise BadInput(
                f"{name} cannot be mixed with experts that read other pieces: {error}. Use top1, or the name of one "
                "expert."
            ) from None
        return ByteModel(self._models.get(name), spelling, self._context)
