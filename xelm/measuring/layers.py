"""Which layers should be an expert's own, and which may stay the base's: read off the updates of short branches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from clustering.errors import BadInput
from clustering.plans.effects import Effects
from xelm.expert_kinds.kind import ExpertKind


def layer_differences(effects: Effects, clusters: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """How differently a layer moves for languages of different clusters, against the length of its weights.

    The mean of |u_i - u_j| / |w| over all pairs of languages of different clusters, u an update and w the base's
    weights; of |u| / |w| if there is one cluster (after DMoE: Li et al. 2025, who take the layers that move most).

    Args:
        effects: Effects with the sizes and cosines of updates by layer.
        clusters: Cluster -> its languages.

    Returns:
        For each layer (`embedding`, `0`, …, `other`).
    """
    refuse_without_updates(effects)
    rows = {name: effects.rows_of(codes) for name, codes in clusters.items()}
    pairs = [(i, j) for one, other in combinations(rows, 2) for i in rows[one] for j in rows[other]]
    if not pairs:
        return layer_moves(effects)
    first, second = map(list, zip(*pairs, strict=True))
    differences = {}
    for layer, sizes in effects.layer_sizes.items():
        cosines = effects.layer_cosines[layer][first, second]
        squares = sizes[first] ** 2 + sizes[second] ** 2 - 2 * sizes[first] * sizes[second] * cosines
        differences[layer] = float(np.sqrt(np.maximum(squares, 0)).mean())
    return differences


def layer_moves(effects: Effects) -> dict[str, float]:
    """How far a layer moves in the mean over languages, against the length of its weights."""
    refuse_without_updates(effects)
    return {layer: float(sizes.mean()) for layer, sizes in effects.layer_sizes.items()}


def settle(expert: ExpertKind, effects: Effects, clusters: Mapping[str, Sequence[str]]) -> ExpertKind:
    """The kind of expert with its layers named where the recipe left them to be measured."""
    return dataclasses.replace(expert, **expert.settled(layer_differences(effects, clusters), layer_moves(effects)))


def refuse_without_updates(effects: Effects) -> None:
    """Refuse effects that cannot tell layers apart.

    Raises:
        BadInput: If an earlier version measured them, or not all languages together.
    """
    if not effects.layer_sizes or set(effects.layer_sizes) != set(effects.layer_cosines):
        raise BadInput(
            "these effects hold no updates by layer, which [expert] asks for: measure all languages together again "
            "(`xelm measure`), or name the layers."
        )
