"""Gains against dense with paired bootstrap intervals over documents, and how well predicted costs rank plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Nats = Mapping[str, np.ndarray]
"""Per language, the cost of each of its test documents."""
_REPLICATES = 2000
_TAIL = 2.5
"""Percent of the replicates beyond each end of an interval."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; the ends are None where there is nothing to resample."""

    value: float
    low: float | None
    high: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Gains:
    """Gains of arms against dense in percent of bits, with the same documents drawn for all of them.

    A replicate draws each language's documents with replacement, once for all arms, dense and seeds.
    """

    def __init__(self, arms: Mapping[str, Sequence[Nats]], dense: Sequence[Nats], *, replicates: int = _REPLICATES):
        """Take the costs.

        Args:
            arms: Per arm, one table for each seed.
            dense: One table for each seed.
            replicates: Bootstrap samples.
        """
        self.codes = sorted(dense[0])
        self._many = any(len(dense[0][code]) > 1 for code in self.codes)
        rng = np.random.default_rng(0)
        weights = {}
        for code in self.codes:
            number = len(dense[0][code])
            drawn = rng.multinomial(number, np.full(number, 1 / number), size=replicates)
            weights[code] = np.concatenate([np.ones((1, number), dtype=np.int64), drawn])
        # Shape (1 + replicates, seeds, languages): the first row is the text as it is.
        self._gains = {name: self._gain(tables, dense, weights) for name, tables in arms.items()}

    def _gain(self, tables: Sequence[Nats], dense: Sequence[Nats], weights: Mapping[str, np.ndarray]) -> np.ndarray:
        columns = []
        for code in self.codes:
            mine = np.stack([weights[code] @ table[code] for table in tables], axis=1)
            theirs = np.stack([weights[code] @ table[code] for table in dense], axis=1)
            columns.append(100 * (1 - mine / theirs))
        return np.stack(columns, axis=2)

    def of(self, name: str) -> np.ndarray:
        """Gain of an arm in percent, shape (seeds, languages)."""
        return np.asarray(self._gains[name][0])

    def mean(self, names: Sequence[str]) -> Estimate:
        """Mean gain over languages, seeds and (where several are named) arms."""
        return self._estimate(self._means(names))

    def difference(self, name: str, others: Sequence[str]) -> Estimate:
        """Mean gain of an arm less the mean of others, in percentage points."""
        return self._estimate(self._means([name]) - self._means(others))

    def _means(self, names: Sequence[str]) -> np.ndarray:
        return np.asarray(np.mean([self._gains[name].mean(axis=(1, 2)) for name in names], axis=0))

    def _estimate(self, values: np.ndarray) -> Estimate:
        if not self._many:  # one document of each language: nothing to draw from
            return Estimate(float(values[0]), None, None)
        low, high = np.percentile(values[1:], [_TAIL, 100 - _TAIL])
        return Estimate(float(values[0]), float(low), float(high))


def rank_correlation(costs: ArrayLike, gains: ArrayLike) -> Estimate | None:
    """Spearman correlation over plans, its interval from plans drawn with replacement; None for fewer than four plans.

    Args:
        costs: Predicted cost of each plan.
        gains: Its measured gain.
    """
    x, y = np.asarray(costs, dtype=np.float64), np.asarray(gains, dtype=np.float64)
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(x), size=len(x)) for _ in range(_REPLICATES)]
    values = [spearman(x[rows], y[rows]) for rows in drawn if np.ptp(x[rows]) and np.ptp(y[rows])]
    low, high = np.percentile(values, [_TAIL, 100 - _TAIL])
    return Estimate(spearman(x, y), float(low), float(high))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
