"""Complete a plan with what can be measured: distances, coverage, quality."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from clustering.distances.arithmetic import Missing, measure, rows_for
from clustering.distances.matrix import Distances, Kind, distance_matrix, weights_of
from clustering.distances.uriel import FEATURE_PREFIXES, CoveredCode, typology_code
from clustering.distances.uriel_plus import kind_within, uriel_plus_coverage, uriel_plus_distances
from clustering.errors import BadInput
from clustering.plans import quality
from clustering.plans.pairs import XELM_KIND, xelm_distances
from clustering.plans.plan import ClusterPlan, Quality

logger = logging.getLogger(__name__)


def measure_kind(languages: Sequence[str], kind: Kind, missing: Missing = "knn") -> Distances:
    """Distances of any kind that can be measured: of `distance_matrix`, URIEL+ (`uriel+`), the X-ELM authors' own."""
    if features := kind_within(kind):
        return uriel_plus_distances(languages, features)
    return xelm_distances(languages) if kind == XELM_KIND else distance_matrix(languages, kind, missing)


def assess(plan: ClusterPlan, distances: Distances | None = None, *, kind: str | None = None) -> ClusterPlan:
    """The plan with distances, coverage and quality filled in.

    Args:
        plan: The clusters.
        distances: Between (at least) its languages; measured if None.
        kind: What to measure then; None is the default kind. A kind that cannot be measured (the name of a
            user's file), or a language that URIEL lacks, leaves the distances out, with a warning.

    Returns:
        The same clusters; `stability` stays None, as it needs the method.
    """
    languages = plan.languages
    try:
        known = distances.subset(languages) if distances else measure_kind(languages, kind or "combined")
    except BadInput as error:
        if distances is not None:
            raise
        logger.warning("The plan has no distances: %s", error)
        return replace(plan, quality=Quality(balance=quality.balance(groups_of(plan))))
    return replace(
        plan,
        distances=known,
        coverage=coverage_of(languages, known.kind),
        quality=measure_quality(plan, known),
    )


def measure_quality(plan: ClusterPlan, distances: Distances, tokens: np.ndarray | None = None) -> Quality:
    """Silhouette, balance (by tokens where given, shape (L,)) and family purity of a plan."""
    groups = groups_of(plan)
    return Quality(
        silhouette=quality.silhouette(distances.values, groups),
        balance=quality.balance(groups, tokens),
        family_purity=quality.family_purity(plan.languages, groups),
    )


def groups_of(plan: ClusterPlan) -> list[list[int]]:
    """Rows of `plan.languages` per cluster."""
    groups, start = [], 0
    for codes in plan.clusters.values():
        groups.append(list(range(start, start + len(codes))))
        start += len(codes)
    return groups


def coverage_of(languages: Sequence[str], kind: str) -> dict[str, CoveredCode]:
    """Per language the row behind its typology and how many features it really has; {} for other distances."""
    if features := kind_within(kind):
        return uriel_plus_coverage(languages, features)
    try:
        kinds = ["syntactic"] if kind == XELM_KIND else [name for name in weights_of(kind) if name in FEATURE_PREFIXES]
    except BadInput:
        return {}
    table = {}
    for code in languages if kinds else ():
        parts = [typology_code(code, name) for name in kinds]
        known, total = sum(part.num_known for part in parts), sum(part.num_total for part in parts)
        table[code] = CoveredCode(code, parts[0].uriel_code, known, total)
    return table


def resampler(
    languages: Sequence[str], kind: str, missing: Missing = "knn"
) -> Callable[[np.random.Generator], np.ndarray] | None:
    """A function that measures distances on features drawn with replacement, for `quality.stability`.

    Family and place have no features to draw: they stay as they are.

    Returns:
        From a generator to distances, shape (L, L); None for distances that cannot be measured again.
    """
    if kind == XELM_KIND:
        return lambda generator: xelm_distances(languages, generator=generator).values
    if features := kind_within(kind):
        return lambda generator: uriel_plus_distances(languages, features, generator=generator).values
    try:
        weights = weights_of(kind)
    except BadInput:
        return None
    codes = tuple(languages)

    def resample(generator: np.random.Generator) -> np.ndarray:
        total = np.zeros((len(codes), len(codes)))
        for name, weight in sorted(weights.items()):
            rows = rows_for(name, codes)
            total += weight * measure(name, rows, rows, missing, generator=generator)[0]
        total = np.clip((total + total.T) / 2, 0.0, 1.0)
        np.fill_diagonal(total, 0.0)
        return total

    return resample
