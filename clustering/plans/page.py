"""A plan as one web page: clusters, a map, and a tree that can be zoomed; for plans of hundreds of languages too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clustering.distances.uriel import coordinates
from clustering.errors import BadInput
from clustering.languages.codes import name_of
from clustering.pictures.environment import page_template
from clustering.pictures.globe import Point, draw_map
from clustering.pictures.tree import draw_merges
from clustering.plans.plan import ClusterPlan


def plan_html(plan: ClusterPlan, colours: Mapping[str, str], merges: np.ndarray) -> str:
    """The page, which loads nothing from anywhere.

    Args:
        plan: The plan.
        colours: Cluster -> its colour.
        merges: Of its tree, as scipy's linkage, shape (L - 1, 4).
    """
    return page_template(Path(__file__).parent, "plan.html").render(**_context(plan, colours, merges))


def _context(plan: ClusterPlan, colours: Mapping[str, str], merges: np.ndarray) -> dict[str, Any]:
    colour_of = {code: colours[name] for name, codes in plan.clusters.items() for code in codes}
    titles = {
        code: {"label": name_of(code), "title": f"{name_of(code)} ({code}): {name}"}
        for name, codes in plan.clusters.items()
        for code in codes
    }
    return {
        "num_languages": len(plan.languages),
        "method": plan.method,
        "kind": plan.distances.kind if plan.distances else "",
        "quality": _quality(plan),
        "clusters": [
            {"name": name, "colour": colours[name], "languages": [titles[code]["label"] for code in codes]}
            for name, codes in plan.clusters.items()
        ],
        "map": _map(plan, titles, colour_of),
        "tree": draw_merges(merges, plan.languages, colour_of),
        "titles": titles,
    }


def _map(plan: ClusterPlan, titles: dict[str, dict[str, str]], colour_of: dict[str, str]) -> dict[str, Any] | None:
    points = []
    for code in plan.languages:
        try:
            place = coordinates(code)
        except BadInput:  # URIEL has no row for it
            place = None
        if place is not None:
            points.append(Point(titles[code]["label"], titles[code]["title"], place, 5.5, colour_of[code], 0.9))
    return draw_map(points)


def _quality(plan: ClusterPlan) -> list[tuple[str, str]]:
    figures = [
        ("silhouette", plan.quality.silhouette),
        ("balance", plan.quality.balance),
        ("family purity", plan.quality.family_purity),
        ("stability", plan.quality.stability),
    ]
    return [(name, f"{value:.2f}") for name, value in figures if value is not None]
