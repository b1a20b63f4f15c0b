"""Pages of 300 languages: everything is in the file, every language is there, and they can be zoomed in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from clustering import BadInput, ClusterPlan, cluster_languages, plot_tree, rank_sources
from clustering.pictures.globe import Point, draw_map
from clustering.pictures.tree import draw_family, draw_merges, family_trees

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def codes() -> list[str]:
    return rank_sources("swa", min_speakers=100_000, top=300).ranking.codes()


@pytest.fixture(scope="module")
def plan_page(codes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plan") / "plan.html"
    plot_tree(cluster_languages(codes, 12), file)
    return file


class Outside(HTMLParser):
    """Collects what a page would load, and the balance of its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "input", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(text: str) -> None:
    parser = Outside()
    parser.feed(text)
    assert parser.loads == [] and parser.open == []
    assert not re.search(r"@import|url\(|https?://", text)


def test_a_page_of_300_sources_has_each_on_the_map_in_its_family_and_in_the_table(tmp_path: Path) -> None:
    report = rank_sources("swa", top=300, sets=3)
    text = report.to_html()
    check_page(text)
    assert text.count("<circle cx") >= 290 and text.count('data-label="') >= 290
    for entry in report.ranking[:300:37]:
        assert f'{entry.name} <tspan class="muted"' in text or entry.name in text
    assert "A set of sources" in text and "By family" in text
    assert text.count("<details") == len(family_trees(report.ranking.codes()))


def test_a_page_of_300_languages_in_clusters_has_tree_and_map(codes: list[str], plan_page: Path) -> None:
    text = plan_page.read_text(encoding="utf-8")
    check_page(text)
    assert f"12 clusters of {len(codes)} languages" in text
    assert text.count('data-side="right"') == len(codes)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.slow
def test_in_a_browser_a_language_can_be_found_and_is_named(plan_page: Path, codes: list[str], tmp_path: Path) -> None:
    assert "hau" in codes
    script = """<script>setTimeout(() => { for (const figure of document.querySelectorAll("figure.zoom")) {
      const input = figure.querySelector("input"); input.value = "hausa"; input.dispatchEvent(new Event("input"));
      figure.querySelector(".in").click(); } }, 100)</script></body>"""
    page = tmp_path / "found.html"
    page.write_text(plan_page.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    for width in (390, 1280):
        found = subprocess.run(
            [
                *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"),
                *("--virtual-time-budget=3000", "--dump-dom", f"file://{page}"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        assert found.count("<output>Hausa (hau): c") == 2
        assert found.count('font-weight="700">Hausa</text>') == 2


def test_branches_of_a_family_are_nested_and_a_chain_is_one_node() -> None:
    trees = family_trees(["zul", "xho", "swh", "eus", "deu", "nld"])
    assert [tree.leaves() for tree in trees] == [["zul", "xho", "swh"], ["deu", "nld"], ["eus"]]
    assert trees[-1].name == "no known relatives"
    assert "Indo-European" in trees[1].name and "," in trees[1].name
    drawn = draw_family(trees[0])
    assert [leaf["language"] for leaf in drawn["leaves"]] == ["zul", "xho", "swh"]
    rows = [leaf["y"] for leaf in drawn["leaves"]]
    assert rows == sorted(rows) and drawn["height"] > rows[-1]
    zul, _, swh = drawn["leaves"]
    assert zul["x"] > swh["x"]  # Zulu and Xhosa share nodes below those that they share with Swahili


def test_merges_are_drawn_at_their_heights() -> None:
    merges = np.array([[0, 1, 0.2, 2], [3, 2, 0.8, 3]])
    drawn = draw_merges(merges, ["deu", "nld", "jpn"], {"deu": "#111", "nld": "#111", "jpn": "#222"}, width=1000)
    assert [leaf["language"] for leaf in drawn["leaves"]] == ["deu", "nld", "jpn"]
    assert {leaf["x"] for leaf in drawn["leaves"]} == {780.0}
    lines = {line["colour"]: line["path"] for line in drawn["lines"]}
    assert "H586.0" in lines["#111"]  # 4 + 776 * (1 - 0.2 / 0.8)
    assert "H4.0" in lines["#222"] and "V" in lines["var(--faint)"]


def test_a_map_shows_the_first_names_that_fit() -> None:
    points = [Point(name, name, place, 4.0, "red") for name, place in (("A", (0.0, 0.0)), ("B", (0.1, 0.1)))]
    drawn = draw_map(points)
    assert drawn is not None and drawn["labels"][0]["name"] == "A"
    assert [one["point"].label for one in drawn["points"]] == ["B", "A"]  # the first on top
    assert draw_map([]) is None
    only_star = draw_map([], (10.0, 20.0))
    assert only_star is not None and only_star["target"] is not None


def test_a_plan_of_one_language_and_one_without_distances(tmp_path: Path) -> None:
    plot_tree(cluster_languages(["deu"], 1), tmp_path / "one.html")
    check_page((tmp_path / "one.html").read_text(encoding="utf-8"))
    with pytest.raises(BadInput, match="no distances"):
        plot_tree(ClusterPlan({"a": ["deu"], "b": ["nld"]}, "by hand"), tmp_path / "none.html")
