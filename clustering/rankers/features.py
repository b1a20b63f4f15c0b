"""Features of each (target, source) for a trained ranker: signals in several forms, and the history of sources.

A ranker never sees a target's own results among its features: neither in training nor in use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clustering.rankers.history import PAST, History, past_features
from clustering.sources.signals import SIGNALS, Query, default_contributions

_CONSTANT = ("target_size", "target_ttr")


def pair_features(query: Query, history: History, columns: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Features of every candidate of a query.

    Each signal comes raw (a tree can ask for its absolute size) and as a z-score over the candidates (what
    matters for an order); then the default ranking with its parts; then the history without the target.

    Args:
        query: The target and its C candidates.
        history: Results of other targets; rows of this target in it are not looked at.
        columns: Signals to use, including parts of the history (`past_features`). None: all.

    Returns:
        F names `<form>:<signal>`, and the features, shape (C, F), finite.
    """
    past = past_features(query, history)
    used = [name for name in (query.raw if columns is None else columns) if name not in PAST]
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
            features[f"z:{name}"] = z_scores(values)
    features |= {f"past:{name}": values for name, values in past.items() if columns is None or name in columns}
    return list(features), np.column_stack(list(features.values()))


def signal_of(feature: str) -> str:
    """The signal behind a feature."""
    return feature.split(":", 1)[1]


def z_scores(values: np.ndarray) -> np.ndarray:
    """Standard deviations from the mean of the known values, 0 for unknown ones; all 0 where they are equal."""
    if not np.isfinite(values).any():
        return np.zeros(len(values))
    spread = np.nanstd(values)
    return np.asarray(np.nan_to_num((values - np.nanmean(values)) / (spread if spread > 0 else 1.0)))
