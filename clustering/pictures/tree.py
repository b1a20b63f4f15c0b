"""Trees as lines and leaves: of families, and of merges. A row for each language, names at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clustering.distances.arithmetic import family_entries, rows_for
from clustering.distances.uriel import families
from clustering.errors import BadInput

ROW = 18.0
_STEP = 15.0
_NAME_WIDTH = 230.0
_NO_FAMILY = "no known relatives"
_GREY = "var(--faint)"


@dataclass
class Branch:
    """A node of a tree, with its branches or, at a leaf, its language."""

    name: str
    branches: list[Branch] = field(default_factory=list)
    language: str | None = None

    def leaves(self) -> list[str]:
        """Languages below it."""
        if self.language is not None:
            return [self.language]
        return [leaf for branch in self.branches for leaf in branch.leaves()]


def family_trees(languages: Sequence[str]) -> list[Branch]:
    """The families of languages as trees, those of the first languages first.

    A node with a single branch is joined with it; languages without a known family are together at the end.

    Args:
        languages: Points, the most important first; their order is kept among branches.
    """
    sizes = np.bincount(family_entries()[1], minlength=len(families().names))
    root: dict[str, Any] = {}
    alone = []
    for language in languages:
        place = root
        nodes = sorted(_nodes(language), key=lambda node: (-sizes[node], node))
        for node in nodes:
            place = place.setdefault(families().names[node].removeprefix("F_").replace("_", " "), {})
        if nodes:
            place[language] = language
        else:
            alone.append(language)
    found = [_family(name, _joined(name, below)) for name, below in root.items()]
    if alone:
        found.append(Branch(_NO_FAMILY, [Branch(language, language=language) for language in alone]))
    return found


def _nodes(language: str) -> list[int]:
    rows, columns, _ = family_entries()
    try:
        row = int(np.asarray(rows_for("genetic", (language,)))[0])
    except BadInput:
        return []
    found: list[int] = columns[slice(*np.searchsorted(rows, [row, row + 1]))].tolist()
    return found


def _family(name: str, tree: Branch) -> Branch:
    return tree if tree.language is None else Branch(name, [tree])


def _joined(name: str, below: Any) -> Branch:
    if isinstance(below, str):
        return Branch(name, language=below)
    branches = [_joined(child, deeper) for child, deeper in below.items()]
    if len(branches) == 1:
        only = branches[0]
        return only if only.language is not None else Branch(f"{name}, {only.name}", only.branches)
    return Branch(name, branches)


def draw_family(tree: Branch) -> dict[str, Any]:
    """Lines and rows of a family, root left: {paths, leaves, names, width, height}, in units of a pixel."""
    step, deepest = _STEP, max(1, _depth(tree))
    paths, leaves, names = list[str](), list[dict[str, Any]](), list[dict[str, Any]]()

    def draw(branch: Branch, depth: int) -> float:
        x = 6.0 + depth * step
        if branch.language is not None:
            y = ROW * (len(leaves) + 0.75)
            leaves.append({"language": branch.language, "x": x + 5, "y": y})
            return y
        inside = []
        for child in branch.branches:
            below = draw(child, depth + 1)
            paths.append(f"M{x:.0f} {below:.1f}H{x + step:.0f}")
            inside.append(below)
        paths.append(f"M{x:.0f} {min(inside):.1f}V{max(inside):.1f}")
        if depth:
            names.append({"name": branch.name, "x": x, "y": (min(inside) + max(inside)) / 2})
        return (min(inside) + max(inside)) / 2

    draw(tree, 0)
    return {
        "path": "".join(paths),
        "leaves": leaves,
        "names": names,
        "width": 6.0 + deepest * step + _NAME_WIDTH,
        "height": ROW * (len(leaves) + 0.5),
    }


def _depth(branch: Branch) -> int:
    return 0 if branch.language is not None else 1 + max(map(_depth, branch.branches))


def draw_merges(
    merges: np.ndarray, languages: Sequence[str], colours: Mapping[str, str], *, width: float = 1000.0
) -> dict[str, Any]:
    """Lines and rows of the tree of a plan, root left, leaves right at one edge.

    Args:
        merges: As scipy's linkage, leaves numbered as `languages`, shape (L - 1, 4).
        languages: L points in the order of the plan.
        colours: Language -> colour of its cluster; branches of several clusters are grey.
        width: Of the picture; a fifth is left for names.

    Returns:
        {lines: [{path, colour}], leaves: [{language, x, y, colour}], width, height}.
    """
    count, right = len(languages), 0.78 * width
    highest = float(merges[:, 2].max(initial=0.0)) or 1.0
    members = {leaf: [leaf] for leaf in range(count)}
    children: dict[int, tuple[int, int]] = {}
    for node, (left, other) in enumerate(merges[:, :2].astype(int).tolist(), start=count):
        children[node] = (left, other) if min(members[left]) < min(members[other]) else (other, left)
        members[node] = [leaf for child in children[node] for leaf in members[child]]
    order = members[max(members)]
    y = {leaf: ROW * (place + 0.75) for place, leaf in enumerate(order)}
    x = dict.fromkeys(range(count), right)
    colour = {leaf: colours[languages[leaf]] for leaf in range(count)}
    lines: dict[str, list[str]] = {}
    for node, pair in children.items():
        x[node] = 4.0 + (right - 4.0) * (1 - float(merges[node - count, 2]) / highest)
        y[node] = (y[pair[0]] + y[pair[1]]) / 2
        colour[node] = colour[pair[0]] if colour[pair[0]] == colour[pair[1]] else _GREY
        for child in pair:
            lines.setdefault(colour[child], []).append(f"M{x[child]:.1f} {y[child]:.1f}H{x[node]:.1f}")
        lines.setdefault(colour[node], []).append(f"M{x[node]:.1f} {y[pair[0]]:.1f}V{y[pair[1]]:.1f}")
    leaves = [{"language": languages[leaf], "x": x[leaf], "y": y[leaf], "colour": colour[leaf]} for leaf in order]
    return {
        "lines": [{"colour": name, "path": "".join(parts)} for name, parts in lines.items()],
        "leaves": leaves,
        "width": width,
        "height": ROW * (count + 0.5),
    }
