"""The X-ELM authors' clusters: nearest pairs, round after round, on their own distance.

Blevins et al. 2024, "Breaking the Curse of Multilinguality with Cross-lingual Expert Language Models"
(https://arxiv.org/abs/2401.10440) and their code. Kept exact for reproduction: `clustering.distances.matrix` is the
consistent distance, `clustering.plans.hierarchy` the better grouping.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clustering.distances import uriel as typology
from clustering.distances.matrix import Distances
from clustering.languages.codes import to_codes
from clustering.plans.methods import Grouping, method

XELM_KIND = "x-elm"


def xelm_distances(languages: Sequence[str], *, generator: np.random.Generator | None = None) -> Distances:
    """The authors' typological distance, which depends on the set of languages asked for.

    d(u, v) = 1 - sum over features both know of u·v / (|u| |v|), each norm over the language's own known
    features; averages of URIEL's sources on syntax; columns constant over the set are dropped. Languages that
    agree on all they share can be far apart when one knows fewer features.

    Args:
        languages: Codes, tags or names of different languages.
        generator: Draws the features with replacement, to see how much hangs on them; None takes each once.

    Returns:
        Distances in the order given; coverage counts the syntactic features both know.

    Raises:
        BadInput: If a language is unknown, given twice or absent from URIEL.
    """
    codes = to_codes(languages)
    table, row_of = typology.features(), typology.row_of()
    rows = np.array([row_of[typology.typology_code(code, "syntactic").uriel_code] for code in codes])
    columns = table.columns("syntactic")
    averages_LF = table.averages[
        np.ix_(rows, columns if generator is None else generator.choice(columns, len(columns)))
    ]
    known_LF = (averages_LF >= 0).astype(np.int32)
    varied = (averages_LF != averages_LF[:1]).any(axis=0)  # unknown (-1) is a value here, as in their code
    values_LF = averages_LF[:, varied].clip(min=0.0)
    norms = np.linalg.norm(values_LF, axis=1)
    scale = np.outer(norms, norms)
    products = values_LF @ values_LF.T
    values = 1.0 - np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    np.fill_diagonal(values, 0.0)
    values = np.clip((values + values.T) / 2, 0.0, 1.0)
    return Distances(tuple(codes), values, known_LF @ known_LF.T, XELM_KIND)


@method("pairs", keeps_order=True)
def group_by_pairs(values: np.ndarray, k: int) -> Grouping:
    """Pair the two nearest groups, strike both, go on until none is left; repeat in rounds until K are left.

    Groups are as near as their nearest languages (single linkage); ties go to the lower index, so the result
    depends on the order of the languages. The authors' code loses whoever is left unpaired; here the rest is
    carried into the next round, and a round stops at K, so any number of languages and any K work.
    """
    num_languages = len(values)
    groups = [[language] for language in range(num_languages)]
    nodes = list(range(num_languages))
    heights = [0.0] * num_languages
    merges: list[tuple[int, int, float, int]] = []
    answer = groups if k == num_languages else []
    while len(groups) > 1:
        stop_at = k if len(groups) > k else 1
        pairs = _pair_up(values, groups, len(groups) - stop_at)
        paired = {group for pair in pairs for group in pair}
        carried = [group for group in range(len(groups)) if group not in paired]
        for left, right in pairs:
            gap = float(values[np.ix_(groups[left], groups[right])].min())
            heights.append(max(gap, heights[nodes[left]], heights[nodes[right]]))
            merges.append((nodes[left], nodes[right], heights[-1], len(groups[left]) + len(groups[right])))
        first_node = num_languages + len(merges) - len(pairs)
        nodes = [first_node + number for number in range(len(pairs))] + [nodes[group] for group in carried]
        groups = [groups[left] + groups[right] for left, right in pairs] + [groups[group] for group in carried]
        if len(groups) == k:
            answer = groups
    return Grouping(answer, np.array(merges, dtype=np.float64).reshape(-1, 4))


def _pair_up(values: np.ndarray, groups: list[list[int]], at_most: int) -> list[tuple[int, int]]:
    """Nearest pairs of groups, each group in one pair at most."""
    gaps = np.array([[values[np.ix_(left, right)].min() for right in groups] for left in groups])
    gaps[np.tril_indices(len(groups))] = np.inf
    pairs: list[tuple[int, int]] = []
    while len(pairs) < at_most and np.isfinite(gaps).any():
        left, right = (int(index) for index in np.unravel_index(np.argmin(gaps), gaps.shape))
        pairs.append((left, right))
        gaps[[left, right], :] = np.inf
        gaps[:, [left, right]] = np.inf
    return pairs
