"""The X-ELM authors' clusters: nearest pairs, round after round, on their own distance.

Blevins et al. 2024, "Breaking the Curse of Multilinguality with Cross-lingual Expert Language Models"
(https://arxiv.org/abs/2401.10440) and their code. Kept exact for reproduction: `clustering.plans.hierarchy` is the
better grouping.
"""

from __future__ import annotations

import numpy as np

from clustering.plans.methods import Evidence, Grouping, method


@method("pairs", about="of the X-ELM authors", distance="x-elm", keeps_order=True, own_sizes=True)
def group_by_pairs(evidence: Evidence, k: int) -> Grouping:
    """Pair the two nearest groups, set both aside, and continue until none is left; repeat in rounds until K remain.

    Groups are as near as their nearest languages (single linkage); ties go to the lower index, so the result
    depends on the order of the languages. The authors' code loses an unpaired group; here the rest is
    carried into the next round, and a round stops at K, so any number of languages and any K work.
    """
    values = evidence.distances
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
