"""Kinds of distance, and how they are registered under a name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, TypeVar

import numpy as np

from clustering.distances.matrix import CoveredCode
from clustering.registry import Registry

Missing = Literal["knn", "shared"]
Measured = tuple[np.ndarray, np.ndarray]
"""Distances, in [0, 1] except for rounding, and their coverage: the number of facts behind each, of the same shape."""


class Distance(ABC):
    """A way to measure how far languages are apart.

    A new one is one file: a subclass under `@distance("name")`, in `clustering/distances` or in an installed package
    that names the module under the entry points `xelm.distances`. It can then be asked for wherever a kind of distance
    can: `xelm cluster --distance`, `[clusters] distance`, `cluster_languages(distances=…)`, alone or in a mean
    (`syntactic+genetic`). The caller makes the results symmetric with a zero diagonal.

    Args:
        name: The name that was asked for, if it is registered under several.
    """

    about: ClassVar[str] = ""
    """A few words for `xelm cluster --help`."""
    takes_missing: ClassVar[bool] = False
    """Whether the caller can choose how an unknown feature counts (`missing`)."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def measure(
        self, languages: tuple[str, ...], *, missing: Missing = "knn", generator: np.random.Generator | None = None
    ) -> Measured:
        """Measure every pair of languages.

        Args:
            languages: L different ISO 639-3 codes.
            missing: How an unknown feature counts; always `knn` if `takes_missing` is false.
            generator: Draws a bootstrap sample of the features, to see how much the result depends on them; None: all
                features once. A distance without features ignores it.

        Returns:
            Distances and coverage, shape (L, L).

        Raises:
            BadInput: If a language cannot be measured.
        """

    def measure_from(self, language: str, others: tuple[str, ...], *, missing: Missing = "knn") -> Measured:
        """Measure one language against C languages, which may include it; shape (C,) each."""
        together = tuple(dict.fromkeys((language, *others)))
        values, coverage = self.measure(together, missing=missing)
        columns = [together.index(code) for code in others]
        return values[0, columns], coverage[0, columns]

    def coverage(self, languages: tuple[str, ...]) -> dict[str, CoveredCode]:
        """The facts known of each language; languages of which nothing is known are left out."""
        return {}


DISTANCES: Registry[Distance] = Registry("kind of distance", package="clustering.distances", group="xelm.distances")
D = TypeVar("D", bound=type[Distance])


def distance(*names: str) -> Callable[[D], D]:
    """Decorator: register a class of distance under one or more names."""

    def register(kind: D) -> D:
        for name in names:
            DISTANCES.register(name, kind(name))
        return kind

    return register
