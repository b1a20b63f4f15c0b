"""Plans: names, look-up, growth, files that come back the same and broken ones that say so."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from clustering.errors import BadInput
from clustering.plans.make import cluster_languages
from clustering.plans.plan import ClusterPlan, cluster_name
from clustering.plans.quality import Quality


@pytest.fixture(scope="module")
def plan() -> ClusterPlan:
    return cluster_languages(["de", "nl", "sv", "ru", "bg", "pl", "swh", "lvs"], 3, stability=True)


def test_names_are_readable_and_safe() -> None:
    assert cluster_name(1, ["deu", "nld"]) == "c1-deu-nld"
    assert cluster_name(12, ["a", "b", "c", "d"]) == "c12-a-b-c-etc"


def test_cluster_of_takes_any_name_of_a_language(plan: ClusterPlan) -> None:
    assert plan.cluster_of("German") == plan.cluster_of("de") == plan.cluster_of("deu_Latn")
    assert plan.cluster_of("sw") == plan.cluster_of("swh")
    with pytest.raises(BadInput, match=r"Finnish \(fi\) is in no cluster .* bul, deu"):
        plan.cluster_of("fi")


def test_a_saved_plan_comes_back_the_same(plan: ClusterPlan, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan.json")
    loaded = ClusterPlan.load(tmp_path / "plan.json")
    assert (loaded.clusters, list(loaded.clusters)) == (plan.clusters, list(plan.clusters))
    assert (loaded.method, loaded.version, loaded.quality) == (plan.method, plan.version, plan.quality)
    assert loaded.coverage == plan.coverage
    assert loaded.distances is not None and plan.distances is not None
    assert loaded.distances.kind == plan.distances.kind == "combined"
    assert np.array_equal(loaded.distances.values, plan.distances.values)
    assert np.array_equal(loaded.distances.coverage, plan.distances.coverage)
    assert loaded.linkage is not None and plan.linkage is not None
    assert np.array_equal(loaded.linkage, plan.linkage)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "plan.json").read_bytes()


def _damage(content: dict, key: str, value: object) -> dict:
    return {**content, key: value}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "something", "not a plan"),
        ("format_version", 99, "plan format 99"),
        ("clusters", {"c1": ["deu", "de"]}, "both mean German"),
        ("clusters", {"../c1": ["deu"]}, "cannot be a folder name"),
        ("clusters", {"c1": []}, "no language"),
        ("clusters", {}, "at least one cluster"),
        ("clusters", 7, "damaged"),
        ("distances", {"kind": "x", "values": ["0 1"], "coverage": ["1 1"]}, "damaged"),
        ("linkage", ["0 1"], "damaged"),
        ("quality", {"beauty": 1}, "damaged"),
        ("version", None, "damaged"),
    ],
)
def test_a_damaged_plan_says_what_is_wrong(
    plan: ClusterPlan, tmp_path: Path, key: str, value: object, message: str
) -> None:
    path = tmp_path / "plan.json"
    plan.save(path)
    path.write_text(json.dumps(_damage(json.loads(path.read_text(encoding="utf-8")), key, value)), encoding="utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        ClusterPlan.load(path)
    assert str(path) in str(caught.value)


def test_a_cut_off_or_missing_plan_is_named(plan: ClusterPlan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan.save(path)
    path.write_text(path.read_text(encoding="utf-8")[:300], encoding="utf-8")
    with pytest.raises(BadInput, match=r"plan\.json, line \d+: not valid JSON"):
        ClusterPlan.load(path)
    with pytest.raises(BadInput, match="no such file"):
        ClusterPlan.load(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(BadInput, match="not a plan"):
        ClusterPlan.load(tmp_path / "list.json")


def test_a_plan_by_hand_is_measured_too() -> None:
    made = ClusterPlan.from_clusters({"west": ["German", "nl"], "east": ["ru"]})
    assert made.clusters == {"west": ["deu", "nld"], "east": ["rus"]}
    assert made.method == "by hand"
    assert made.quality.family_purity == 1.0 and made.quality.silhouette is not None


def test_a_language_without_typology_can_be_placed_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = ClusterPlan.from_clusters({"a": ["deu", "ckm"], "b": ["nld"]})
    assert made.distances is None and made.quality == Quality(balance=0.75)
    assert "no row for" in caplog.text
    with pytest.raises(BadInput, match="place it in a cluster by hand"):
        cluster_languages(["deu", "ckm"], 1)


def test_growing_keeps_everyone_in_place(plan: ClusterPlan) -> None:
    joined = plan.with_language("Danish", plan.cluster_of("swe"))
    assert joined.cluster_of("dan") == plan.cluster_of("swe")
    assert joined.version == plan.version + 1
    assert {code: joined.cluster_of(code) for code in plan.languages} == {
        code: plan.cluster_of(code) for code in plan.languages
    }
    alone = joined.with_language("zu")
    assert alone.clusters["c4-zul"] == ["zul"]
    assert alone.distances is not None and list(alone.distances.languages) == alone.languages
    assert plan.version == 1 and "dan" not in plan.languages


@pytest.mark.parametrize(
    ("language", "cluster", "message"),
    [
        ("sw", None, "in this plan already, as swh"),
        ("fi", "c9", "No cluster 'c9'"),
        ("finnnish", None, "Did you mean Finnish"),
    ],
)
def test_bad_growth_is_refused(plan: ClusterPlan, language: str, cluster: str | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plan.with_language(language, cluster)


def test_linkage_leaves_follow_the_languages_of_the_plan(plan: ClusterPlan) -> None:
    assert plan.linkage is not None and plan.distances is not None
    first = plan.linkage[0, :2].astype(int)
    values = plan.distances.values + np.eye(len(plan.languages))
    assert {*first} == {*np.unravel_index(np.argmin(values), values.shape)}


def test_a_plan_on_weighted_distances_knows_its_coverage_and_grows_with_them() -> None:
    weighted = cluster_languages(["deu", "nld", "rus"], 2, distances={"syntactic": 2, "genetic": 1}, stability=True)
    assert weighted.distances is not None and weighted.distances.kind == "syntactic*2+genetic"
    assert weighted.coverage["deu"].num_total == 103 and weighted.quality.stability is not None
    grown = weighted.with_language("bul", weighted.cluster_of("rus"))
    assert grown.distances is not None
    again = cluster_languages(["deu", "nld", "rus", "bul"], 2, distances="syntactic*2+genetic").distances
    assert again is not None
    assert np.array_equal(grown.distances.values, again.subset(grown.languages).values)


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'syntactic\*much': write a weight as a number"):
        cluster_languages(["deu", "nld"], 1, distances="genetic+syntactic*much")
