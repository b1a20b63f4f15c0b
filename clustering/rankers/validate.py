"""How well a ranker would have ranked targets that it was not fitted on, beside the default and each single signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clustering.rankers.metrics import ndcg, regret
from clustering.rankers.ranker import Method, fit_ranker
from clustering.rankers.transfer_table import TransferTable
from clustering.sources.signals import SIGNALS, Query, default_contributions, is_known

_DRAWS = 2000
_FEWEST_TARGETS = 3


@dataclass(frozen=True)
class Measured:
    """One way to rank, measured over T targets."""

    name: str
    """`trained`, `default` or the name of a signal."""
    ndcg: float
    """Mean NDCG@3 x 100."""
    low: float
    """Lower end of its 95 % interval: a bootstrap over targets."""
    high: float
    """Upper end of the interval."""
    regret: float
    """Mean regret of the best of the first three, in % of the best score."""


@dataclass(frozen=True)
class Validation:
    """The ways to rank, side by side."""

    rows: list[Measured]
    """The trained ranker first, then the default, then the signals, best first."""
    folds: int
    """Parts of the targets, each ranked by a ranker fitted on the others."""
    gain: float
    """Mean difference of NDCG@3 between the trained ranker and the default over targets."""
    gain_low: float
    """Lower end of its 95 % interval."""
    gain_high: float
    """Upper end of the interval."""

    @property
    def beats_default(self) -> bool:
        """Whether the trained ranker ranked better than the default on the mean target."""
        return self.gain > 0


def cross_validate(table: TransferTable, *, method: Method = "trees", seed: int = 0, folds: int = 5) -> Validation:
    """Rank each target by a ranker fitted without it.

    Args:
        table: The results.
        method: What learns: `trees` or `lightgbm`.
        seed: Of the folds, the ranker and the bootstrap.
        folds: Parts of the targets; as many as there are targets leaves one out at a time.

    Returns:
        NDCG@3 and regret of the ranker, of the default and of each single signal, over the same targets.
    """
    queries = [(query, rows) for query, rows in table.queries() if len(rows) > 1]
    targets = list(dict.fromkeys(query.target for query, _ in queries))
    folds = max(2, min(folds, len(targets)))
    part_of = dict(zip(targets, np.random.default_rng(seed).permutation(len(targets)) % folds, strict=True))
    part = np.array([part_of[query.target] for query, _ in queries])  # all tasks of a target are left out together
    trained: list[np.ndarray] = [np.empty(0)] * len(queries)
    for fold in range(folds):
        others = [number for number in range(len(queries)) if part[number] != fold]
        ranker = fit_ranker(
            table.of_rows(np.concatenate([queries[number][1] for number in others])), method=method, seed=seed
        )
        for number in np.flatnonzero(part == fold).tolist():
            trained[number] = ranker.scores(queries[number][0])
    ways: dict[str, list[np.ndarray]] = {"trained": trained, "default": [_sum(query) for query, _ in queries]}
    signals = [name for name in SIGNALS if any(is_known(query.raw, name) for query, _ in queries)]
    ways |= {
        name: [_single(query, name) for query, _ in queries]
        for name in signals
        if SIGNALS[name].higher_is_nearer is not None
    }
    scores = [table.scores[rows] for _, rows in queries]
    per_target = {name: np.array([ndcg(p, s) for p, s in zip(way, scores, strict=True)]) for name, way in ways.items()}
    rows = [_measured(name, ways[name], scores, values, seed) for name, values in per_target.items()]
    gain = per_target["trained"] - per_target["default"]
    low, high = _interval(gain, seed)
    singles = sorted(rows[2:], key=lambda row: -row.ndcg)
    return Validation([*rows[:2], *singles], folds, float(gain.mean()), low, high)


def can_be_validated(table: TransferTable) -> bool:
    """Whether there are enough targets to leave some out and still fit on two."""
    return len({target for target, rows in table.groups() if len(rows) > 1}) >= 2 * _FEWEST_TARGETS


def _measured(
    name: str, way: Sequence[np.ndarray], scores: Sequence[np.ndarray], values: np.ndarray, seed: int
) -> Measured:
    low, high = _interval(values, seed)
    losses = [regret(predicted, measured) for predicted, measured in zip(way, scores, strict=True)]
    return Measured(name, float(values.mean()), low, high, float(np.mean(losses)))


def _interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    draws = np.random.default_rng(seed).integers(len(values), size=(_DRAWS, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _sum(query: Query) -> np.ndarray:
    return sum(default_contributions(query.raw).values(), np.zeros(len(query.candidates)))


def _single(query: Query, name: str) -> np.ndarray:
    values = query.raw.get(name, np.full(len(query.candidates), np.nan))
    signed = values if SIGNALS[name].higher_is_nearer else -values
    return np.asarray(np.nan_to_num(signed, nan=float(np.nanmin(signed)) if np.isfinite(signed).any() else 0.0))
