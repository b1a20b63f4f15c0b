"""What a kind of distance is, and how it becomes known by a name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, TypeVar

import numpy as np

from clustering.distances.matrix import CoveredCode
from clustering.registry import Registry

Missing = Literal["knn", "shared"]
Measured = tuple[np.ndarray, np.ndarray]
"""Distances in [0, 1] but for rounding, and coverage: how many facts each rests on (int), of the same shape."""


class Distance(ABC):
    """A way to measure how far languages are apart.

    A new one is one file: a subclass under `@distance("name")`, in `clustering/distances` or in an installed package
    that names the module under the entry points `xelm.distances`. It can then be asked for wherever a kind of distance
    can: `xelm cluster --distance`, `[clusters] distance`, `cluster_languages(distances=…)`, alone or in a mean
    (`syntactic+genetic`). The results are made symmetric with a zero diagonal by who asks.

    Args:
        name: Which of the names it is registered under was asked for.
    """

    about: ClassVar[str] = ""
    """A few words for `xelm cluster --help`."""
    takes_missing: ClassVar[bool] = False
    """Whether it can be told what an unknown feature counts as (`missing`)."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def measure(
        self, languages: tuple[str, ...], *, missing: Missing = "knn", generator: np.random.Generator | None = None
    ) -> Measured:
        """Every pair of languages.

        Args:
            languages: L different ISO 639-3 codes.
            missing: What an unknown feature counts as; only `knn` comes where `takes_missing` is false.
            generator: Draws the features with replacement, to see how much hangs on them; None takes each once. A
                distance without features to draw stays as it is.

        Returns:
            Distances and coverage, shape (L, L).

        Raises:
            BadInput: If a language cannot be measured.
        """

    def measure_from(self, language: str, others: tuple[str, ...], *, missing: Missing = "knn") -> Measured:
        """One language against C others, among which it may be; shape (C,) each."""
        together = tuple(dict.fromkeys((language, *others)))
        values, coverage = self.measure(together, missing=missing)
        columns = [together.index(code) for code in others]
        return values[0, columns], coverage[0, columns]

    def coverage(self, languages: tuple[str, ...]) -> dict[str, CoveredCode]:
        """What is known of each language by itself; languages of which nothing can be said are left out."""
        return {}


DISTANCES: Registry[Distance] = Registry("kind of distance", package="clustering.distances", group="xelm.distances")
D = TypeVar("D", bound=type[Distance])


def distance(*names: str) -> Callable[[D], D]:
    """Decorator: make a class of distance known under one or more names."""

    def register(kind: D) -> D:
        for name in names:
            DISTANCES.register(name, kind(name))
        return kind

    return register
