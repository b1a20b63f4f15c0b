"""The plan of least interference: even clusters in which languages harm each other least, by measured effects.

The cost of a plan is the sum of `effects.costs[i, j]` over ordered pairs of different languages in one cluster. For
few languages all plans are compared; for more, pairs of languages are exchanged from many random starts. Typology
decides between equal costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from clustering.distances.kinds import distance_matrix
from clustering.errors import BadInput, arg
from clustering.plans.assess import assess
from clustering.plans.effects import Effects, as_effects
from clustering.plans.methods import Evidence, Grouping, method
from clustering.plans.plan import ClusterPlan, cluster_name

METHOD = "measured"
_MOST_PARTITIONS = 5_000
"""Up to this number, all partitions are compared; above it, the search has random starts."""
_STARTS = 60
_TIE = 1e-9
"""Weight of typology beside effects: decides between equal costs, and nothing else."""


@method(METHOD, about="least measured interference, even groups; needs effects", needs="effects")
def group_by_effects(evidence: Evidence, k: int) -> Grouping:
    """Even groups whose languages harm each other least; distances decide between equal costs."""
    if evidence.effects is None:
        raise BadInput(f"{arg('method', METHOD)} needs measured effects: give {arg('effects')}.")
    sizes = even_sizes(len(evidence.effects), k)
    return Grouping(least_cost_groups(evidence.effects, sizes, evidence.distances), None)


def measured_plan(
    languages: Sequence[str],
    k: int,
    effects: Effects | str | Path,
    *,
    sizes: Sequence[int] | None = None,
    most: bool = False,
) -> ClusterPlan:
    """The plan whose languages harm each other least within clusters.

    Args:
        languages: L ISO 639-3 codes.
        k: Number of clusters, 1..L.
        effects: Effects of at least these languages, or a file of them.
        sizes: Number of languages of each cluster; None: as even as possible.
        most: Whether to make the plan of most interference instead, as a control.

    Returns:
        The plan, clusters largest first; its `distances` are the effects, scaled.

    Raises:
        BadInput: If a language was not measured, or sizes do not fit.
    """
    known, codes = as_effects(effects), sorted(languages)
    matrix = known.subset(codes)
    wanted = sorted(sizes or even_sizes(len(codes), k), reverse=True)
    if len(wanted) != k or sum(wanted) != len(codes) or min(wanted) < 1:
        raise BadInput(f"sizes {wanted} do not make {k} clusters of {len(codes)} languages.")
    groups = least_cost_groups(-matrix if most else matrix, wanted, _typology(codes))
    groups.sort(key=lambda group: (-len(group), group[0]))
    named = [[codes[row] for row in group] for group in groups]
    clusters = {cluster_name(number, group): group for number, group in enumerate(named, start=1)}
    found = assess(clusters, known.distances())
    name = f"{METHOD}, upside down" if most else METHOD
    return ClusterPlan(clusters, name, found.distances, found.coverage, found.quality)


def predicted_cost(plan: ClusterPlan, effects: Effects) -> float:
    """Sum of effects over ordered pairs of different languages that share a cluster."""
    total = 0.0
    for codes in plan.clusters.values():
        block = effects.subset(codes)
        total += float(block.sum() - np.trace(block))
    return total


def nearest_cluster(effects: Effects, language: str, plan: ClusterPlan) -> dict[str, float]:
    """Find where a language that was measured alone fits: its mean effect with the languages of each cluster.

    Both directions are averaged if both were measured; of a language that was measured alone, only its own row was.

    Returns:
        Cluster -> mean effect, least (the best place) first.
    """
    (row,) = effects.rows_of([language])
    means = {}
    for name, codes in plan.clusters.items():
        others = [column for column in effects.rows_of(codes) if column != row]
        both = np.concatenate([effects.matrix[row, others], effects.matrix[others, row]])
        known = both[np.isfinite(both)]
        means[name] = float(known.mean()) if len(known) else 0.0
    return dict(sorted(means.items(), key=lambda item: item[1]))


def even_sizes(num_languages: int, k: int) -> list[int]:
    """Sizes of K clusters that differ by at most one, largest first."""
    seats, extra = divmod(num_languages, k)
    return [seats + (number < extra) for number in range(k)]


def least_cost_groups(matrix: np.ndarray, sizes: Sequence[int], typology: np.ndarray | None = None) -> list[list[int]]:
    """Groups of given sizes with the least sum of `matrix` within groups.

    Args:
        matrix: Shape (L, L); the diagonal does not count.
        sizes: Sizes of the groups, summing to L.
        typology: Distances that decide between equal sums, shape (L, L).

    Returns:
        Sorted groups of rows: the best of all if few partitions are possible, else the best of many searches.
    """
    both = matrix + matrix.T
    np.fill_diagonal(both, 0.0)
    if typology is not None:
        both = both + _TIE * max(float(np.abs(both).max(initial=0.0)), _TIE) * typology
    if _num_partitions(sizes, _MOST_PARTITIONS) <= _MOST_PARTITIONS:
        return _exact(both, sizes)
    rng = np.random.default_rng(0)
    found = [_descend(both, _random_owners(sizes, rng)) for _ in range(_STARTS)]
    return _groups(min(found, key=lambda owners: (round(_cost(both, owners), 12), tuple(owners))))


def _typology(codes: list[str]) -> np.ndarray | None:
    try:
        return distance_matrix(codes, "combined").values
    except BadInput:  # a language that URIEL lacks: equal costs are then decided by the codes
        return None


def _num_partitions(sizes: Sequence[int], most: int) -> int:
    """Number of partitions into groups of these sizes, counted only until it exceeds `most`."""
    from math import comb, factorial

    left, count = sum(sizes), 1
    for size in sizes:
        count *= comb(left, size)
        left -= size
    for size in set(sizes):
        count //= factorial(list(sizes).count(size))
    return min(count, most + 1)


def _exact(both: np.ndarray, sizes: Sequence[int]) -> list[list[int]]:
    best: list[list[int]] = []
    least = np.inf
    for groups in _partitions(list(range(len(both))), sorted(sizes, reverse=True)):
        cost = sum(float(both[np.ix_(group, group)].sum()) for group in groups)
        if cost < least:
            best, least = groups, cost
    return sorted(best)


def _partitions(rows: list[int], sizes: list[int]) -> Iterator[list[list[int]]]:
    """Every division of `rows` into groups of these sizes, each once: the first row goes with any of the others."""
    from itertools import combinations

    if not rows:
        yield []
        return
    first, rest = rows[0], rows[1:]
    for size in sorted(set(sizes), reverse=True):
        left = sizes.copy()
        left.remove(size)
        for company in combinations(rest, size - 1):
            group = [first, *company]
            others = [row for row in rest if row not in company]
            for groups in _partitions(others, left):
                yield [group, *groups]


def _random_owners(sizes: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    owners = np.repeat(np.arange(len(sizes)), sizes)
    rng.shuffle(owners)
    return owners


def _descend(both: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Exchange languages (or move one to a smaller group) while that lowers the cost, the best change first."""
    k = int(owners.max()) + 1
    while True:
        to_group = np.stack([both[:, owners == number].sum(axis=1) for number in range(k)], axis=1)
        own = to_group[np.arange(len(owners)), owners]
        gain, change = min((_best_swap(both, owners, to_group, own), _best_move(owners, to_group, own)), key=_first)
        if gain > -1e-15 * max(1.0, float(np.abs(both).max())):
            return owners
        owners = change(owners.copy())


def _first(pair: tuple[float, Callable[[np.ndarray], np.ndarray]]) -> float:
    return pair[0]


def _best_swap(
    both: np.ndarray, owners: np.ndarray, to_group: np.ndarray, own: np.ndarray
) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    would_be = to_group[:, owners]  # row: language, column: the language whose seat it takes
    gains = would_be + would_be.T - own[:, None] - own[None, :] - 2 * both
    gains[owners[:, None] == owners[None, :]] = 0.0
    first, second = np.unravel_index(int(np.argmin(gains)), gains.shape)

    def swap(changed: np.ndarray) -> np.ndarray:
        changed[[first, second]] = changed[[second, first]]
        return changed

    return float(gains[first, second]), swap


def _best_move(
    owners: np.ndarray, to_group: np.ndarray, own: np.ndarray
) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    """Move a language of a larger group to one that is smaller by one: the set of sizes does not change."""
    sizes = np.bincount(owners, minlength=to_group.shape[1])
    gains = to_group - own[:, None]
    gains[sizes[owners][:, None] != sizes[None, :] + 1] = 0.0
    row, group = np.unravel_index(int(np.argmin(gains)), gains.shape)

    def move(changed: np.ndarray) -> np.ndarray:
        changed[row] = group
        return changed

    return float(gains[row, group]), move


def _cost(both: np.ndarray, owners: np.ndarray) -> float:
    return float((both * (owners[:, None] == owners[None, :])).sum()) / 2


def _groups(owners: np.ndarray) -> list[list[int]]:
    groups = [np.flatnonzero(owners == number).tolist() for number in range(int(owners.max()) + 1)]
    return sorted(groups)
