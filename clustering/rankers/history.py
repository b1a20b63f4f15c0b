"""The record of a source in measured transfer: how useful it was for other targets, above all for similar ones.

Shapes: T targets and S sources of a table, C candidates of a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clustering.languages.codes import same_language_key
from clustering.languages.points import code_of
from clustering.sources.signals import COSINE_PER_UNIT, KM_SCALE, NATS_PER_UNIT, Query, typology_signals

PAST = ("prior", "neighbours", "alike")
# Shrinkage towards "unknown": a source counts in full if it was tried on about this many targets.
_PRIOR_TARGETS = 2.0
_NEIGHBOUR_WEIGHT = 0.05
# Two languages are compared as sources if they served this many targets both, and e^8 is the weight of a
# perfect agreement against none: the few most alike decide.
_SHARED_TARGETS = 4
_SHARPNESS = 8.0


@dataclass(frozen=True)
class History:
    """How useful each source was for each target of a table.

    Attributes:
        targets: T codes.
        sources: S codes.
        usefulness: Shape (T, S), standard deviations above the mean source of the target; NaN where not measured.
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    usefulness: np.ndarray

    def without(self, target: str) -> History:
        """The same history without the results of one target (under any of its codes)."""
        key = same_language_key(code_of(target))
        keep = [same_language_key(name) != key for name in self.targets]
        kept = tuple(name for name, known in zip(self.targets, keep, strict=True) if known)
        return History(kept, self.sources, self.usefulness[keep])


def past_features(query: Query, history: History) -> dict[str, np.ndarray]:
    """How useful each candidate was for other targets; 0 stands for the mean source and for unknown ones.

    Args:
        query: The target and its C candidates.
        history: Results; rows of the query's own target in it are not looked at.

    Returns:
        `prior`: mean usefulness; `neighbours`: for targets near this one by typology; and, if this target was a
        source itself (`alikeness`), `alike`: for targets that as sources served the same languages as this one.
        Each of shape (C,).
    """
    past = history.without(query.target)
    columns = _columns(query.candidates, past.sources)
    if not past.targets:
        return {name: np.zeros(len(columns)) for name in ("prior", "neighbours")}
    known = ~np.isnan(past.usefulness)
    centred = np.where(known, past.usefulness - np.nanmean(past.usefulness), 0.0)
    found = {"prior": centred.sum(axis=0) / (known.sum(axis=0) + _PRIOR_TARGETS)}
    weights = {"neighbours": _nearness(query.target, past.targets), "alike": alikeness(query.target, past)}
    for name, weights_T in weights.items():
        if weights_T is not None:
            found[name] = weights_T @ centred / (weights_T @ known + _NEIGHBOUR_WEIGHT)
    return {name: np.where(columns >= 0, values[columns], 0.0) for name, values in found.items()}


def alikeness(target: str, history: History) -> np.ndarray | None:
    """Weights of the other targets by how alike they are to this one *as sources*.

    Collaborative filtering: two languages are alike if they were useful to the same others, which is the
    correlation of their columns in the table, this target's own row left out.

    Args:
        target: ISO 639-3 code.
        history: Results.

    Returns:
        Shape (T without the target,), summing to 1; None if the target, or every other one, was not a source
        often enough to compare.
    """
    past = history.without(target)
    [mine] = _columns([target], past.sources)
    theirs = _columns(past.targets, past.sources)
    if mine < 0 or not past.targets:
        return None
    known = ~np.isnan(past.usefulness)
    both = known[:, [mine]] & known[:, theirs] & (theirs >= 0)
    compared = both.sum(axis=0) >= _SHARED_TARGETS
    if not compared.any():
        return None
    agreement = _correlations(past.usefulness[:, [mine]], past.usefulness[:, theirs], both)
    weights = np.where(compared, np.exp(_SHARPNESS * agreement), 0.0)
    return np.asarray(weights / weights.sum())


def _correlations(left_T1: np.ndarray, right_TT: np.ndarray, both_TT: np.ndarray) -> np.ndarray:
    """Pearson's correlation of one column with each of others over the rows known of both, shape (T,); 0 if flat."""
    counts = np.maximum(both_TT.sum(axis=0), 1)
    left = np.where(both_TT, left_T1, 0.0)
    right = np.where(both_TT, right_TT, 0.0)
    left = np.where(both_TT, left - left.sum(axis=0) / counts, 0.0)
    right = np.where(both_TT, right - right.sum(axis=0) / counts, 0.0)
    norms = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    return np.asarray(np.divide((left * right).sum(axis=0), norms, out=np.zeros(len(norms)), where=norms > 1e-9))


def _columns(codes: Sequence[str], sources: Sequence[str]) -> np.ndarray:
    """Index of each language among the sources, under any of its codes; -1 if it is not there."""
    column_of = {same_language_key(name): column for column, name in enumerate(sources)}
    return np.array([column_of.get(same_language_key(code_of(code)), -1) for code in codes], dtype=int)


def _nearness(target: str, others: Sequence[str]) -> np.ndarray:
    """Weights of other targets, shape (T,), summing to 1: exp of the default ranking's typology."""
    raw = typology_signals(target, others).raw
    score = raw["shared_family"] / NATS_PER_UNIT - raw["syntactic"] / COSINE_PER_UNIT
    score = np.nan_to_num(score - np.log1p(raw["geographic"] / KM_SCALE), nan=-10.0)
    weights = np.exp(score - score.max())
    return np.asarray(weights / weights.sum())
