"""Intervals of accuracies and of their differences: test rows drawn with replacement, the same for all techniques."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_TAIL = 2.5
"""Percent of the replicates beyond each end of an interval."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; the ends are None where there is nothing to draw from."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Hits:
    """Right answers of the test rows of one language, in the mean over seeds and draws.

    Attributes:
        right: Shape (rows,): right answers in each row.
        units: Shape (rows,): things that were labelled in it.
    """

    right: np.ndarray
    units: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.sum() / self.units.sum())


class Draws:
    """Weights of test rows in each replicate; rows of one id are drawn together in all languages.

    Sentences that are translations of each other are easy or hard together, so languages must not be drawn apart.
    """

    def __init__(self, rows: Mapping[str, Sequence[Hashable]], replicates: int, *, seed: int = 0) -> None:
        """Draw.

        Args:
            rows: Language -> a key of each test row; equal keys are one sentence.
            replicates: Number of draws.
            seed: Of the draws.
        """
        keys = sorted({key for own in rows.values() for key in own}, key=repr)
        place = {key: number for number, key in enumerate(keys)}
        self._many = len(keys) > 1
        rng = np.random.default_rng(seed)
        number = len(keys)
        weights = rng.multinomial(number, np.full(number, 1 / number), size=replicates) if number else np.ones((1, 0))
        # float64 holds these counts exactly, and products of floats are far faster than those of integers.
        self._weights = {
            code: np.concatenate([np.ones((1, len(own))), weights[:, [place[key] for key in own]].astype(np.float64)])
            for code, own in rows.items()
        }

    def accuracies(self, hits: Mapping[str, Hits]) -> np.ndarray:
        """Accuracy of each language, shape (1 + replicates, languages); the first row is the test as it is.

        A replicate that draws none of a language's rows counts as the whole test there.
        """
        columns = []
        for code, own in hits.items():
            weights = self._weights[code]
            units = weights @ own.units.astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                values = (weights @ own.right.astype(np.float64)) / units
            columns.append(np.where(units > 0, values, own.accuracy))
        return np.stack(columns, axis=1)

    def interval(self, values: np.ndarray) -> Interval:
        """The figure of the first row with the interval of the others."""
        if not self._many:
            return Interval(float(values[0]), None, None)
        low, high = np.percentile(values[1:], [_TAIL, 100 - _TAIL])
        return Interval(float(values[0]), float(low), float(high))
