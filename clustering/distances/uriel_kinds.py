"""The distances measured on URIEL's tables: by a feature set, by family, by place."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from clustering.distances import uriel as typology
from clustering.distances.arithmetic import Rows, by_family, by_features, by_place, rows_for
from clustering.distances.distance import Distance, Measured, Missing, distance
from clustering.distances.matrix import CoveredCode


class _OnRows(Distance):
    """A distance between rows of URIEL's tables, for any two lists of languages."""

    takes_missing = True  # distances without features ignore it

    def measure(
        self, languages: tuple[str, ...], *, missing: Missing = "knn", generator: np.random.Generator | None = None
    ) -> Measured:
        rows = rows_for(self.name, languages)
        return self.between(rows, rows, missing, generator)

    def measure_from(self, language: str, others: tuple[str, ...], *, missing: Missing = "knn") -> Measured:
        values, coverage = self.between(rows_for(self.name, (language,)), rows_for(self.name, others), missing, None)
        return values[0], coverage[0]

    @abstractmethod
    def between(self, rows_A: Rows, rows_B: Rows, missing: Missing, generator: np.random.Generator | None) -> Measured:
        """Distances and coverage between rows of the table, shape (A, B)."""


@distance(*typology.FEATURE_PREFIXES)
class FeatureDistance(_OnRows):
    """1 - cosine of one of URIEL's feature sets (`featural`: all of them in one vector)."""

    about = "1 - cosine of URIEL's features"

    def between(self, rows_A: Rows, rows_B: Rows, missing: Missing, generator: np.random.Generator | None) -> Measured:
        """1 - cosine of the features; `missing` says how unknown ones count, and a generator resamples them."""
        return by_features(self.name, rows_A, rows_B, missing, generator=generator)

    def coverage(self, languages: tuple[str, ...]) -> dict[str, CoveredCode]:
        """For each language, the row of URIEL that is read and how many of its features are known."""
        return {code: typology.typology_code(code, self.name) for code in languages}


@distance("genetic")
class FamilyDistance(_OnRows):
    """1 - shared family nodes / geometric mean of (nodes + 1); 1 without a known family."""

    about = "place in the family tree"

    def between(self, rows_A: Rows, rows_B: Rows, missing: Missing, generator: np.random.Generator | None) -> Measured:
        """From shared family nodes; nothing in it is resampled."""
        return by_family(rows_A, rows_B)


@distance("geographic")
class PlaceDistance(_OnRows):
    """Great circle / half the globe; 1 for an unknown place."""

    about = "place on the globe"

    def between(self, rows_A: Rows, rows_B: Rows, missing: Missing, generator: np.random.Generator | None) -> Measured:
        """From places on the globe; nothing in it is resampled."""
        return by_place(rows_A, rows_B)
