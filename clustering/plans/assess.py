"""Measure clusters: distances between their languages, the facts behind these, and quality."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clustering.distances.kinds import coverage_of, distance_matrix
from clustering.distances.matrix import CoveredCode, Distances
from clustering.errors import BadInput
from clustering.plans.quality import Quality, balance, family_purity, silhouette

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assessment:
    """The measurements of clusters; fields as in `ClusterPlan`."""

    distances: Distances | None
    coverage: dict[str, CoveredCode]
    quality: Quality


def assess(
    clusters: Mapping[str, Sequence[str]],
    distances: Distances | None = None,
    *,
    kind: str | None = None,
    tokens: np.ndarray | None = None,
) -> Assessment:
    """Measure clusters.

    Args:
        clusters: Cluster name -> its ISO 639-3 codes, L together.
        distances: Between (at least) these languages; measured if None.
        kind: The kind to measure then; None is the default kind. A kind that cannot be measured (the name of a
            user's file), or a language that URIEL lacks, leaves the distances out, with a warning.
        tokens: Training tokens per language, shape (L,), for a balance by tokens; None counts languages.

    Returns:
        The assessment; `quality.stability` stays None, as it needs the method.

    Raises:
        BadInput: If the distances lack one of the languages.
    """
    languages, groups = [code for codes in clusters.values() for code in codes], groups_of(clusters)
    try:
        known = distances.subset(languages) if distances else distance_matrix(languages, kind or "combined")
    except BadInput as error:
        if distances is not None:
            raise
        logger.warning("The plan has no distances: %s", error)
        return Assessment(None, {}, Quality(balance=balance(groups)))
    quality = Quality(
        silhouette=silhouette(known.values, groups),
        balance=balance(groups, tokens),
        family_purity=family_purity(languages, groups),
    )
    return Assessment(known, coverage_of(languages, known.kind), quality)


def groups_of(clusters: Mapping[str, Sequence[str]]) -> list[list[int]]:
    """Rows of each cluster, languages numbered cluster after cluster."""
    groups, start = list[list[int]](), 0
    for codes in clusters.values():
        groups.append(list(range(start, start + len(codes))))
        start += len(codes)
    return groups
