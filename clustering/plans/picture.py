"""Picture of a plan: the tree of its languages, coloured by cluster."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write, write_text
from clustering.languages.codes import name_of
from clustering.plans.page import plan_html
from clustering.plans.plan import ClusterPlan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".html", ".svg", ".png", ".pdf")
_LEGEND_COLUMNS = 4
_GOLDEN_RATIO = 0.618034  # hues at steps of this never come close to each other
_MAX_LUMINANCE = 0.2  # contrast of at least 4.2 : 1 on white
_GREY = "#9aa0a6"
_INK = "#22262b"


def tree_svg(plan: ClusterPlan) -> str:
    """The tree as an `<svg>` element for an HTML page.

    Raises:
        BadInput: If the plan has no distances.
    """
    buffer = io.StringIO()
    _save(tree_figure(plan), buffer, "svg")
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def plot_tree(plan: ClusterPlan, path: str | Path) -> None:
    """Write the tree as a picture, or as a page with a map, both of which can be zoomed (`.html`).

    Args:
        plan: A plan with distances.
        path: Path that ends in one of `PICTURE_SUFFIXES`.

    Raises:
        BadInput: If the plan has no distances, or the suffix is unknown.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise BadInput(f"{path}: pictures are written as {', '.join(PICTURE_SUFFIXES)}.")
    if suffix == ".html":
        write_text(path, plan_html(plan, cluster_colours(plan), merges_of(plan)))
        return
    figure = tree_figure(plan)
    with atomic_write(path) as partial:
        _save(figure, partial, suffix[1:])


def tree_figure(plan: ClusterPlan) -> Figure:
    """The tree as a matplotlib figure; height grows with the languages.

    A branch has its cluster's colour where all its languages are of that cluster, else it is grey. The tree is
    the one that made the plan; plans without one (made by hand, or grown) get average linkage.

    Raises:
        BadInput: If the plan has no distances.
    """
    from matplotlib.figure import Figure

    languages, colours = plan.languages, cluster_colours(plan)
    leaf_colours = [colours[name] for name, codes in plan.clusters.items() for _ in codes]
    merges = merges_of(plan)
    legend_rows = -(-len(plan.clusters) // _LEGEND_COLUMNS)
    figure = Figure(figsize=(8.0, 0.8 + 0.25 * (len(languages) + legend_rows)), layout="constrained")
    axes = figure.add_subplot()
    leaves = _draw_branches(axes, merges, leaf_colours)
    axes.set_yticks(range(len(leaves)), [f"{name_of(languages[leaf])}  {languages[leaf]}" for leaf in leaves])
    for tick, leaf in zip(axes.yaxis.get_major_ticks(), leaves, strict=True):
        tick.label2.set_color(leaf_colours[leaf])  # label2 is the one on the right
    _dress(axes, len(leaves))
    _legend(figure, plan, colours)
    return figure


def cluster_colours(plan: ClusterPlan) -> dict[str, str]:
    """A colour per cluster, unlike its neighbours and dark enough to read on white."""
    return {name: _colour(number) for number, name in enumerate(plan.clusters)}


def _colour(number: int) -> str:
    from colorsys import hls_to_rgb

    hue, lightness = (0.58 + number * _GOLDEN_RATIO) % 1.0, (0.45, 0.33, 0.39)[number % 3]
    rgb = hls_to_rgb(hue, lightness, 0.65)
    while 0.2126 * rgb[0] ** 2.2 + 0.7152 * rgb[1] ** 2.2 + 0.0722 * rgb[2] ** 2.2 > _MAX_LUMINANCE:
        lightness *= 0.95
        rgb = hls_to_rgb(hue, lightness, 0.65)
    return "#" + "".join(f"{round(channel * 255):02x}" for channel in rgb)


def merges_of(plan: ClusterPlan) -> np.ndarray:
    """The merges that made the plan, or average linkage of its distances; as scipy's linkage, shape (L - 1, 4).

    Raises:
        BadInput: If the plan has no distances.
    """
    if plan.linkage is not None:
        return plan.linkage
    if plan.distances is None:
        raise BadInput(
            "This plan has no distances, so it has no tree. Make it with `xelm cluster`, or give distances to "
            "ClusterPlan.from_clusters."
        )
    from scipy.cluster.hierarchy import linkage

    values = plan.distances.values
    return linkage(values[np.triu_indices(len(values), 1)], "average") if len(values) > 1 else np.empty((0, 4))


def _draw_branches(axes: Any, merges: np.ndarray, leaf_colours: list[str]) -> list[int]:
    """Draw the tree from right (leaves) to left (root); returns the leaves from top to bottom."""
    num_leaves = len(leaf_colours)
    members = {leaf: [leaf] for leaf in range(num_leaves)}
    children: dict[int, tuple[int, int]] = {}
    for node, (left, right) in enumerate(merges[:, :2].astype(int).tolist(), start=num_leaves):
        # The branch with the earlier cluster goes on top, so that the tree reads in the order of the plan.
        children[node] = (left, right) if min(members[left]) < min(members[right]) else (right, left)
        members[node] = [leaf for child in children[node] for leaf in members[child]]
    leaves = members[max(members)]
    height = dict.fromkeys(range(num_leaves), 0.0)
    place = {leaf: float(position) for position, leaf in enumerate(leaves)}
    colour = dict(enumerate(leaf_colours))
    for node, (upper, lower) in children.items():
        height[node] = float(merges[node - num_leaves, 2])
        place[node] = (place[upper] + place[lower]) / 2
        colour[node] = colour[upper] if colour[upper] == colour[lower] else _GREY
        for child in (upper, lower):
            _line(axes, [height[child], height[node]], [place[child]] * 2, colour[child])
        _line(axes, [height[node]] * 2, [place[upper], place[lower]], colour[node])
    if not children:
        _line(axes, [0.0, 1.0], [0.0, 0.0], colour[0])
    return leaves


def _line(axes: Any, x: list[float], y: list[float], colour: str) -> None:
    axes.plot(x, y, color=colour, linewidth=1.6, solid_capstyle="projecting")


def _dress(axes: Any, num_languages: int) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GREY)
    axes.tick_params(axis="x", colors=_INK, labelsize=8)
    axes.tick_params(axis="y", length=0, labelsize=9.5, right=True, labelright=True, left=False, labelleft=False)
    axes.set_xlabel("distance at which branches join", color=_INK, fontsize=9)
    axes.set_ylim(num_languages - 0.5, -0.5)
    axes.set_xlim(axes.get_xlim()[1], 0)


def _legend(figure: Figure, plan: ClusterPlan, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colours[name], linewidth=3, label=name) for name in plan.clusters]
    columns = min(_LEGEND_COLUMNS, len(handles))
    legend = figure.legend(
        handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=8.5, labelcolor=_INK
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a cluster may be called $a$


def _save(figure: Figure, target: Any, form: str) -> None:
    from matplotlib import rc_context

    # A fixed salt and no date: the same plan gives the same bytes. Text stays text, so it can be searched.
    with rc_context({"svg.hashsalt": "xelm", "svg.fonttype": "none"}):
        metadata = {"Date": None} if form == "svg" else {}
        figure.savefig(target, format=form, dpi=150, metadata=metadata)
