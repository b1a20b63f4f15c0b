"""Picture of a plan: the tree of its languages, coloured by cluster."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.codes import name_of
from clustering.errors import BadInput
from clustering.files import atomic_write
from clustering.plan import ClusterPlan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".svg", ".png", ".pdf")
_GREY = "#9aa0a6"
_INK = "#22262b"


def tree_svg(plan: ClusterPlan) -> str:
    """The tree as an `<svg>` element, to stand inside an HTML page.

    Raises:
        BadInput: If the plan has no distances.
    """
    buffer = io.StringIO()
    _save(tree_figure(plan), buffer, "svg")
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def plot_tree(plan: ClusterPlan, path: str | Path) -> None:
    """Write the tree as a picture.

    Args:
        plan: A plan with distances.
        path: Ends in one of `PICTURE_SUFFIXES`.

    Raises:
        BadInput: If the plan has no distances, or the suffix is another.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise BadInput(f"{path}: pictures are written as {', '.join(PICTURE_SUFFIXES)}.")
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
    from scipy.cluster.hierarchy import dendrogram

    languages, colours = plan.languages, cluster_colours(plan)
    colour_of = {code: colours[name] for name, codes in plan.clusters.items() for code in codes}
    labels = [f"{name_of(code)}  {code}" for code in languages]
    figure = Figure(figsize=(8.0, 0.8 + 0.26 * len(languages)), layout="constrained")
    axes = figure.add_subplot()
    merges = _merges(plan)
    if len(merges):
        branch_colours = _branch_colours(merges, [colour_of[code] for code in languages])
        drawn = dendrogram(
            merges, labels=labels, orientation="left", ax=axes, link_color_func=lambda node: branch_colours[node]
        )
        shown = drawn["leaves"][::-1]
        axes.invert_yaxis()
    else:
        shown = [0]
        axes.plot([0, 1], [5, 5], color=colour_of[languages[0]])
        axes.set_yticks([5], labels)
    for label in axes.get_yticklabels():
        code = label.get_text().rsplit(maxsplit=1)[-1]
        label.set_color(colour_of[code])
    _dress(axes, len(shown))
    _legend(axes, plan, colours)
    return figure


def cluster_colours(plan: ClusterPlan) -> dict[str, str]:
    """A colour per cluster, dark enough to read on white; the same for the same number of clusters."""
    import colorsys

    count = len(plan.clusters)
    colours = {}
    for number, name in enumerate(plan.clusters):
        # Neighbouring hues differ in lightness too, for the colour-blind and for print.
        red, green, blue = colorsys.hls_to_rgb((0.58 + number / count) % 1.0, 0.33 + 0.10 * (number % 2), 0.62)
        colours[name] = f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
    return colours


def _merges(plan: ClusterPlan) -> np.ndarray:
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


def _branch_colours(merges: np.ndarray, leaf_colours: list[str]) -> dict[int, str]:
    colours = dict(enumerate(leaf_colours))
    for number, (left, right) in enumerate(merges[:, :2].astype(int)):
        same = colours[int(left)] == colours[int(right)]
        colours[len(leaf_colours) + number] = colours[int(left)] if same else _GREY
    return colours


def _dress(axes: Any, num_languages: int) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GREY)
    axes.tick_params(axis="x", colors=_GREY, labelsize=8)
    axes.tick_params(axis="y", length=0, labelsize=9.5)
    axes.set_xlabel("distance at which branches join", color=_INK, fontsize=9)
    axes.set_ylim(10 * num_languages, 0)


def _legend(axes: Any, plan: ClusterPlan, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colours[name], linewidth=3, label=name) for name in plan.clusters]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=8.5, labelcolor=_INK
    )


def _save(figure: Figure, target: Any, form: str) -> None:
    from matplotlib import rc_context

    # A fixed salt and no date: the same plan gives the same bytes. Text stays text, so it can be searched.
    with rc_context({"svg.hashsalt": "xelm", "svg.fonttype": "none"}):
        metadata = {"Date": None} if form == "svg" else {}
        figure.savefig(target, format=form, dpi=150, metadata=metadata)
