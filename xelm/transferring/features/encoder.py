"""`Encoder`: turns rows of a task into vectors, one for each thing that is labelled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from clustering.registry import Registry
from xelm.transferring.data.examples import Example

if TYPE_CHECKING:
    from xelm.transferring.recipe import TaskBase

Words = Sequence[Sequence[str]]
Matrix = Any
"""Vectors as rows: float32 of numpy, or a sparse matrix of scipy."""


class Encoder(ABC):
    """A function from texts, or from words in their sentence, to vectors that do not depend on other texts' labels."""

    is_kept: bool = True
    """Whether vectors are worth keeping in files."""
    is_sparse: bool = False

    @property
    @abstractmethod
    def key(self) -> str:
        """A fingerprint of everything that decides the vectors."""

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> Matrix:
        """A vector for each text, shape (texts, dimensions)."""

    @abstractmethod
    def words(self, sentences: Words) -> Matrix:
        """A vector for each word of each sentence, in one matrix, shape (words, dimensions)."""

    def rows(self, rows: Sequence[Example]) -> Matrix:
        """The vectors of all things that rows label, in order.

        Of a pair (u, v) they are u, v, |u - v| and u * v side by side (Conneau et al. 2017).
        """
        if rows and rows[0].tokens is not None:
            return self.words([row.tokens or () for row in rows])
        first = self.texts([row.text for row in rows])
        if not rows or rows[0].second is None:
            return first
        return self.pairs(first, self.texts([row.second or "" for row in rows]))

    def pairs(self, first: Matrix, second: Matrix) -> Matrix:
        """Vectors of pairs of texts from those of the texts."""
        import numpy as np

        return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


ENCODERS: Registry[Callable[[TaskBase], Encoder | None]] = Registry(
    "kind of features", package="xelm.transferring.features", group="xelm.features"
)
"""Functions from `[base]` to an encoder, or to None if the encoder is one of a model's states."""
