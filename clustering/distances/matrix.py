"""Distances between languages as values: a matrix of pairs, or one language against many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import rows_among


@dataclass(frozen=True)
class CoveredCode:
    """The row of a table that stands for a language, and its number of known facts.

    Attributes:
        code: The language asked for.
        uriel_code: Code of the row: the same language, under the code that has the facts.
        num_known: Facts that the table really has there (features, family nodes, or 1 for a place).
        num_total: Facts in the set (for `genetic`, the nodes of this row).
    """

    code: str
    uriel_code: str
    num_known: int
    num_total: int


@dataclass(frozen=True)
class Distances:
    """Pairwise distances.

    Attributes:
        languages: L ISO 639-3 codes, in row order.
        values: Shape (L, L), in [0, 1], symmetric, zero diagonal.
        coverage: Shape (L, L), int: facts known of both languages (features; family nodes; places).
        kind: The kind of distance, such as `typological`, or the name of the file that they were read from.
    """

    languages: tuple[str, ...]
    values: np.ndarray
    coverage: np.ndarray
    kind: str

    def __repr__(self) -> str:
        return f"Distances({self.kind}, {len(self.languages)} languages: {' '.join(self.languages)})"

    def subset(self, languages: Sequence[str]) -> Distances:
        """The rows and columns of `languages`, in that order, found under any code of the same language.

        Raises:
            BadInput: If a language is not among these.
        """
        codes, rows = rows_among(languages, self.languages)
        if absent := [str(language) for language, row in zip(languages, rows, strict=True) if row < 0]:
            raise BadInput(
                f"The distances ({self.kind}) have no row for: {', '.join(absent)}. "
                f"They know: {', '.join(self.languages[:20])}{' …' if len(self.languages) > 20 else ''}."
            )
        grid = np.ix_(np.array(rows, dtype=int), np.array(rows, dtype=int))
        return Distances(tuple(codes), self.values[grid], self.coverage[grid], self.kind)


@dataclass(frozen=True)
class DistancesFrom:
    """Distances from one language to C candidates.

    Attributes:
        target: ISO 639-3 code.
        languages: C codes.
        values: Per kind, shape (C,), in [0, 1].
        coverage: Per kind, shape (C,), int: facts known of the target and of the candidate.
    """

    target: str
    languages: tuple[str, ...]
    values: dict[str, np.ndarray]
    coverage: dict[str, np.ndarray]
