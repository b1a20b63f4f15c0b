"""The tree picture: every language and cluster is in it, and the same plan gives the same bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from clustering.errors import BadInput
from clustering.plans.make import cluster_languages
from clustering.plans.picture import cluster_colours, plot_tree, tree_svg
from clustering.plans.plan import ClusterPlan


@pytest.mark.parametrize("method", ["ward", "pairs"])
def test_svg_shows_names_and_clusters(method: str) -> None:
    plan = cluster_languages(["de", "nl", "ja", "ko", "tr"], 2, method)
    svg = tree_svg(plan)
    ElementTree.fromstring(svg)
    for text in ("German", "Korean", *plan.clusters):
        assert text in svg
    for colour in cluster_colours(plan).values():
        assert colour in svg
    assert tree_svg(plan) == svg


def test_one_language_and_plans_by_hand_have_a_tree_too() -> None:
    assert "Basque" in tree_svg(cluster_languages(["eu"], 1))
    assert "Dutch" in tree_svg(ClusterPlan.from_clusters({"a": ["de", "ja"], "b": ["nl"]}))


def test_a_cluster_name_is_no_formula() -> None:
    assert "$a_1$" in tree_svg(ClusterPlan.from_clusters({"$a_1$": ["de", "ja"], "b": ["nl"]}))


def test_colours_differ_however_many_clusters() -> None:
    plan = ClusterPlan(
        {f"c{number}": [code] for number, code in enumerate(["deu", "nld", "jpn", "kor", "tur", "eus"])}, "x"
    )
    assert len(set(cluster_colours(plan).values())) == 6


def test_pictures_are_written_by_suffix(tmp_path: Path) -> None:
    plan = cluster_languages(["de", "nl", "ja"], 2)
    plot_tree(plan, tmp_path / "tree.png")
    assert (tmp_path / "tree.png").read_bytes().startswith(b"\x89PNG")
    plot_tree(plan, tmp_path / "tree.svg")
    assert "<svg" in (tmp_path / "tree.svg").read_text(encoding="utf-8")
    with pytest.raises(BadInput, match="pictures are written as"):
        plot_tree(plan, tmp_path / "tree.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree.png", "tree.svg"]


def test_a_plan_without_distances_has_no_tree() -> None:
    with pytest.raises(BadInput, match="no distances"):
        tree_svg(ClusterPlan({"a": ["deu"], "b": ["nld"]}, "by hand"))
