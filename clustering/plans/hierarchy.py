"""Hierarchical grouping on any distances, and groups of equal size or equal tokens made from it."""

from __future__ import annotations

import numpy as np

from clustering.plans.methods import Evidence, Group, Grouping, method

TOKEN_SLACK = 1.1
_MAX_ROUNDS = 50
_MAX_SWAPS_PER_LANGUAGE = 10


def linkage_of(values: np.ndarray, name: str) -> np.ndarray:
    """Merges of a scipy linkage (`average`, `complete`, `single`, `ward`) on distances of shape (L, L)."""
    from scipy.cluster.hierarchy import linkage

    if len(values) == 1:
        return np.empty((0, 4))
    condensed = values[np.triu_indices(len(values), 1)]
    # Ward adds up squared distances; the root of a cosine distance is (but for a factor) the Euclidean one.
    return np.asarray(linkage(np.sqrt(condensed) if name == "ward" else condensed, name))


def _by_linkage(name: str) -> Group:
    def group(evidence: Evidence, k: int) -> Grouping:
        merges = linkage_of(evidence.distances, name)
        return Grouping(cut(merges, len(evidence.distances), k), merges)

    return group


for _name, _about in (
    ("ward", "Ward's linkage, the default: even clusters, pure in families"),
    ("average", "average linkage"),
    ("complete", "complete linkage"),
    ("single", "single linkage"),
):
    method(_name, about=_about)(_by_linkage(_name))


def cut(merges: np.ndarray, num_leaves: int, k: int) -> list[list[int]]:
    """The groups after the first `num_leaves - k` merges: always K, even with ties."""
    groups: dict[int, list[int]] = {leaf: [leaf] for leaf in range(num_leaves)}
    for number in range(num_leaves - k):
        left, right = int(merges[number, 0]), int(merges[number, 1])
        groups[num_leaves + number] = sorted(groups.pop(left) + groups.pop(right))
    return sorted(groups.values())


def balance_by_languages(values: np.ndarray, groups: list[list[int]]) -> list[list[int]]:
    """Move languages until group sizes differ by at most one, each to the nearest group that has room.

    Each round solves the assignment of languages to seats (scipy's `linear_sum_assignment`), the cost being
    the mean distance to the group's present members; rounds end when the total no longer falls. Then pairs of
    languages are exchanged as long as that reduces distances within groups.

    Args:
        values: Distances, shape (L, L).
        groups: K groups to start from.

    Returns:
        K groups of floor(L / K) or that plus one.
    """
    from scipy.optimize import linear_sum_assignment

    num_languages, k = len(values), len(groups)
    seats, extra = divmod(num_languages, k)
    owner_of_seat = np.repeat(np.arange(k), seats + (extra > 0))
    # Every group has `seats` seats that must be taken, worth more than any distance, and one that may be.
    must_fill = np.tile(np.arange(seats + (extra > 0)) < seats, k)
    best, best_cost = groups, np.inf
    for _ in range(_MAX_ROUNDS):
        to_group = np.stack([_mean_distance(values, group) for group in groups], axis=1)
        rows, taken = linear_sum_assignment(to_group[:, owner_of_seat] - 10.0 * must_fill)
        owners = np.empty(num_languages, dtype=int)
        owners[rows] = owner_of_seat[taken]
        groups = [np.flatnonzero(owners == number).tolist() for number in range(k)]
        cost = sum(float(values[np.ix_(group, group)].sum()) / len(group) for group in groups)
        if cost >= best_cost - 1e-12:
            break
        best, best_cost = groups, cost
    return _swap_while_better(values, best)


def _swap_while_better(values: np.ndarray, groups: list[list[int]]) -> list[list[int]]:
    """Exchange two languages of different groups, the best pair first, until no exchange helps."""
    num_languages = len(values)
    owners = np.empty(num_languages, dtype=int)
    for number, group in enumerate(groups):
        owners[group] = number
    for _ in range(_MAX_SWAPS_PER_LANGUAGE * num_languages):
        to_group = np.stack([values[:, owners == number].sum(axis=1) for number in range(len(groups))], axis=1)
        own = to_group[np.arange(num_languages), owners]
        would_be = to_group[:, owners]  # row: language, column: the language whose seat it takes
        change = would_be + would_be.T - own[:, None] - own[None, :] - 2 * values
        change[owners[:, None] == owners[None, :]] = 0.0
        first, second = np.unravel_index(np.argmin(change), change.shape)
        if change[first, second] > -1e-9:
            break
        owners[[first, second]] = owners[[second, first]]
    return [np.flatnonzero(owners == number).tolist() for number in range(len(groups))]


def balance_by_tokens(values: np.ndarray, groups: list[list[int]], tokens: np.ndarray) -> list[list[int]]:
    """Fill groups so that their tokens are nearly equal, with near languages together if there is room.

    The centre of each group stays. The others, largest first, go to the nearest group that stays below 1.1
    times the mean load (or the largest language, if that is more), else to the least loaded.

    Args:
        values: Distances, shape (L, L).
        groups: K groups to start from.
        tokens: Training tokens per language, shape (L,), >= 0.

    Returns:
        K groups, none empty.
    """
    centres = [min(group, key=lambda row: (values[row, group].sum(), row)) for group in groups]
    room = max(TOKEN_SLACK * float(tokens.sum()) / len(groups), float(tokens.max()))
    filled = [[centre] for centre in centres]
    loads = [float(tokens[centre]) for centre in centres]
    others = sorted(set(range(len(values))) - set(centres), key=lambda row: (-tokens[row], row))
    for row in others:
        fitting = [number for number, load in enumerate(loads) if load + tokens[row] <= room]
        if fitting:
            chosen = min(fitting, key=lambda number: (values[row, filled[number]].mean(), number))
        else:
            chosen = int(np.argmin(loads))
        filled[chosen].append(row)
        loads[chosen] += float(tokens[row])
    return [sorted(group) for group in filled]


def _mean_distance(values: np.ndarray, group: list[int]) -> np.ndarray:
    """Mean distance of each row to the members of a group other than itself, shape (L,)."""
    sums = values[:, group].sum(axis=1)
    others = len(group) - np.isin(np.arange(len(values)), group)
    return np.asarray(sums / np.maximum(others, 1))
