"""Quality of a grouping: silhouette, balance, family purity, stability under resampled features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clustering.distances.uriel import family_of


@dataclass(frozen=True)
class Quality:
    """Figures of a plan's quality; None if one cannot be computed.

    Attributes:
        silhouette: -1 to 1; how much nearer languages are to their own cluster than to the next one.
        balance: Mean load of a cluster over the largest, in (0, 1]; 1 when all are equal.
        family_purity: Share of languages that belong to the commonest language family of their cluster.
        stability: Agreement with clusters from resampled features (adjusted Rand index), if it was measured.
    """

    silhouette: float | None = None
    balance: float | None = None
    family_purity: float | None = None
    stability: float | None = None


def silhouette(values: np.ndarray, groups: Sequence[Sequence[int]]) -> float | None:
    """Mean of (nearest other group - own group) / larger of both, over languages; Rousseeuw 1987.

    Args:
        values: Distances, shape (L, L).
        groups: K groups of rows.

    Returns:
        -1 (wrong clusters) to 1 (compact and separate clusters); a language alone counts 0. None for K = 1.
    """
    if len(groups) == 1:
        return None
    labels = labels_of(groups, len(values))
    sizes = np.array([len(group) for group in groups])
    sums_LK = np.stack([values[:, list(group)].sum(axis=1) for group in groups], axis=1)
    rows = np.arange(len(values))
    alone = sizes[labels] == 1
    own = sums_LK[rows, labels] / np.maximum(sizes[labels] - 1, 1)
    means_LK = sums_LK / sizes
    means_LK[rows, labels] = np.inf
    other = means_LK.min(axis=1)
    larger = np.maximum(own, other)
    scores = np.divide(other - own, larger, out=np.zeros_like(own), where=larger > 0)
    return float(np.where(alone, 0.0, scores).mean())


def balance(groups: Sequence[Sequence[int]], weights: np.ndarray | None = None) -> float:
    """Mean load of a group over the largest load: 1 when all are equal, 1/K when one has everything.

    Args:
        groups: K groups of rows.
        weights: Load per language, shape (L,), such as tokens; None counts languages.
    """
    loads = [float(len(group)) if weights is None else float(weights[list(group)].sum()) for group in groups]
    return float(np.mean(loads) / max(loads)) if max(loads) > 0 else 1.0


def family_purity(languages: Sequence[str], groups: Sequence[Sequence[int]]) -> float:
    """Share of languages whose top family is the commonest of their group; an unknown family is its own."""
    families = [(family_of(code) or (code,))[0] for code in languages]
    majority = sum(max(Counter(families[row] for row in group).values()) for group in groups)
    return majority / len(languages)


def stability(
    groups: Sequence[Sequence[int]],
    resample: Callable[[np.random.Generator], np.ndarray],
    regroup: Callable[[np.ndarray], Sequence[Sequence[int]]],
    *,
    num_samples: int = 20,
    seed: int = 0,
) -> float:
    """Mean agreement (adjusted Rand index) with groupings made from resampled features.

    Args:
        groups: The grouping in question.
        resample: Function from a generator to distances, shape (L, L), on features drawn with replacement.
        regroup: Function from distances to groups, by the same method and K.
        num_samples: Bootstrap samples.
        seed: Fixes the samples.

    Returns:
        1 if no resample changes anything, near 0 if the groups are no better than chance.
    """
    generator = np.random.default_rng(seed)
    num_languages = sum(len(group) for group in groups)
    mine = labels_of(groups, num_languages)
    scores = [adjusted_rand(mine, labels_of(regroup(resample(generator)), num_languages)) for _ in range(num_samples)]
    return float(np.mean(scores))


def adjusted_rand(first: np.ndarray, second: np.ndarray) -> float:
    """Agreement of two labellings corrected for chance (Hubert and Arabie 1985); 1 when they are the same."""
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, left, right = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    total = len(first) * (len(first) - 1) / 2
    expected = left * right / total if total else 0.0
    most = (left + right) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def labels_of(groups: Sequence[Sequence[int]], num_languages: int) -> np.ndarray:
    """Group number of each row, shape (L,)."""
    labels = np.empty(num_languages, dtype=int)
    for number, group in enumerate(groups):
        labels[list(group)] = number
    return labels
