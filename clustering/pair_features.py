"""Numbers a trained ranker sees of each (target, source): signals in several dresses, and what sources did before.

A ranker never sees a target's own results among its features: neither in training nor in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clustering.codes import same_language_key
from clustering.signals import (
    COSINE_PER_UNIT,
    KM_SCALE,
    NATS_PER_UNIT,
    SIGNALS,
    Query,
    default_contributions,
    typology_signals,
)

# Shrinkage towards "nothing known": a source counts in full once it was tried on about this many targets.
_PRIOR_TARGETS = 2.0
_NEIGHBOUR_WEIGHT = 0.05
_CONSTANT = ("target_size", "target_ttr")


@dataclass(frozen=True)
class History:
    """How useful each source was for each target of a table.

    Attributes:
        targets: T codes.
        sources: S codes.
        usefulness: Shape (T, S), 1 for the best source of a target down to 0; NaN where not measured.
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    usefulness: np.ndarray

    def without(self, target: str) -> History:
        """The same, with nothing known of one target (under any of its codes)."""
        key = same_language_key(target)
        keep = [same_language_key(name) != key for name in self.targets]
        kept = tuple(name for name, known in zip(self.targets, keep, strict=True) if known)
        return History(kept, self.sources, self.usefulness[keep])


def pair_features(query: Query, history: History, columns: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Features of every candidate of a query.

    Each signal comes raw (a tree can ask for its absolute size) and as a z-score over the candidates (what
    matters for an order); then the default ranking with its parts; then the history without the target.

    Args:
        query: The target and its C candidates.
        history: Results of other targets; rows of this target in it are not looked at.
        columns: Signals to use, or None for all that the query has.

    Returns:
        F names `<dress>:<signal>`, and the features, shape (C, F), finite.
    """
    used = list(query.raw if columns is None else columns)
    raw = {name: query.raw.get(name, np.full(len(query.candidates), np.nan)) for name in used}
    features: dict[str, np.ndarray] = {}
    parts = default_contributions(raw)
    for name in SIGNALS:
        if name in parts or name in used:
            features[f"part:{name}"] = parts.get(name, np.zeros(len(query.candidates)))
    total = sum(parts.values(), np.zeros(len(query.candidates)))
    features["part:default_score"] = total
    features["rank:default_score"] = -np.argsort(np.argsort(-total, kind="stable")).astype(float)
    for name, values in raw.items():
        features[f"raw:{name}"] = np.nan_to_num(values, nan=-1.0)
        if name not in _CONSTANT:
            features[f"z:{name}"] = _z_scores(values)
    features["past:prior"], features["past:neighbours"] = _past(query, history.without(query.target))
    return list(features), np.column_stack(list(features.values()))


def signal_of(feature: str) -> str:
    """The signal that a feature is a dress of."""
    return feature.split(":", 1)[1]


def _past(query: Query, history: History) -> tuple[np.ndarray, np.ndarray]:
    """Mean usefulness of each candidate for other targets, and for targets near this one; 0 = the mean source."""
    column_of = {same_language_key(name): column for column, name in enumerate(history.sources)}
    columns = np.array([column_of.get(same_language_key(code), -1) for code in query.candidates], dtype=int)
    if not history.targets or (columns < 0).all():
        return np.zeros(len(columns)), np.zeros(len(columns))
    known = ~np.isnan(history.usefulness)
    centred = np.where(known, history.usefulness - np.nanmean(history.usefulness), 0.0)
    prior = centred.sum(axis=0) / (known.sum(axis=0) + _PRIOR_TARGETS)
    near = _nearness(query.target, history.targets)
    neighbours = near @ centred / (near @ known + _NEIGHBOUR_WEIGHT)
    seen = columns >= 0
    return np.where(seen, prior[columns], 0.0), np.where(seen, neighbours[columns], 0.0)


def _nearness(target: str, others: Sequence[str]) -> np.ndarray:
    """Weights of other targets, shape (T,), summing to 1: exp of the default ranking's typology."""
    raw = typology_signals(target, others).raw
    score = raw["shared_family"] / NATS_PER_UNIT - raw["syntactic"] / COSINE_PER_UNIT
    score = np.nan_to_num(score - np.log1p(raw["geographic"] / KM_SCALE), nan=-10.0)
    weights = np.exp(score - score.max())
    return weights / weights.sum()


def _z_scores(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).any():
        return np.zeros(len(values))
    spread = np.nanstd(values)
    return np.nan_to_num((values - np.nanmean(values)) / (spread if spread > 0 else 1.0))
