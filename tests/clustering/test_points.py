"""A language in two scripts is two points where text is meant, and one language where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clustering import BadInput, ClusterPlan, cluster_languages, rank_sources
from clustering.corpora.find import find_sources
from clustering.distances.kinds import distance_matrix
from clustering.languages.codes import match, name_of, points_of, rows_among, same_language_key, to_codes
from clustering.languages.facts import facts_of, type_of
from clustering.languages.romanise import romanised
from clustering.plans.documents import text_distances
from clustering.plans.effects import Effects
from clustering.sources.quality import quality_of

TEXTS = {
    "srp_Latn": "ljudi su rođeni slobodni i jednaki u dostojanstvu i pravima. danas je lep dan u gradu",
    "srp_Cyrl": "људи су рођени слободни и једнаки у достојанству и правима. данас је леп дан у граду",
    "hrv": "ljudi se rađaju slobodni i jednaki u dostojanstvu i pravima. danas je lijep dan u gradu",
    "uzb_Latn": "barcha odamlar erkin, qadr-qimmat va huquqlarda teng bo'lib tug'iladilar",
}


def write(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text("\n".join([text] * 4), encoding="utf-8")
    return folder


def test_a_script_is_kept_only_where_a_language_comes_in_several() -> None:
    assert to_codes(["srp_Latn", "sr-Cyrl", "swh_Latn"]) == ["srp_Latn", "srp_Cyrl", "swh"]
    assert to_codes(["zh-Hant", "deu"]) == ["zho", "deu"]
    assert points_of(["uz_Latn", "uzn_Cyrl"]) == ["uzb_Latn", "uzn_Cyrl"]  # Northern Uzbek is what Uzbek means
    with pytest.raises(BadInput, match="'sr_Latn' and 'srp_Latn' both mean Serbian"):
        to_codes(["sr_Latn", "srp_Latn"])
    with pytest.raises(BadInput, match="Say which: srp_Cyrl or srp_Latn"):
        to_codes(["srp", "srp_Latn", "srp_Cyrl"])


def test_points_are_the_same_where_no_script_says_otherwise() -> None:
    assert match("srp_Latn", ["srp_Cyrl", "srp_Latn"]) == "srp_Latn"
    assert match("srp_Latn", ["srp_Cyrl"]) is None
    assert match("srp_Latn", ["srp"]) == "srp" and match("sr", ["srp_Cyrl"]) == "srp_Cyrl"
    assert same_language_key("swh_Latn") == "swa_Latn"
    assert rows_among(["srp_Cyrl", "deu_Latn", "uzb"], ["deu", "srp_Latn", "srp_Cyrl"]) == (
        ["srp_Cyrl", "deu", "uzb"],
        [2, 0, -1],
    )


def test_facts_of_a_point_are_those_of_its_language() -> None:
    assert name_of("srp_Latn") == "Serbian (Latin)" and name_of("kaz_Cyrl") == "Kazakh (Cyrillic)"
    assert type_of("srp_Latn") == "living"
    assert (facts_of("srp_Latn").script, facts_of("srp_Latn").speakers) == ("Latn", facts_of("srp").speakers)
    values = distance_matrix(["srp_Latn", "srp_Cyrl", "deu"], "combined").values
    plain = distance_matrix(["srp", "deu"], "combined").values[0, 1]
    assert values == pytest.approx(np.array([[0, 0, plain], [0, 0, plain], [plain, plain, 0]]))


def test_a_plan_has_both_and_keeps_them(tmp_path: Path) -> None:
    plan = cluster_languages(["srp_Latn", "srp_Cyrl", "deu", "nld"], 2)
    assert sorted(map(sorted, plan.clusters.values())) == [["deu", "nld"], ["srp_Cyrl", "srp_Latn"]]
    plan.save(tmp_path / "plan.json")
    kept = ClusterPlan.load(tmp_path / "plan.json")
    assert kept.clusters == plan.clusters and kept.cluster_of("sr_Cyrl") == plan.cluster_of("srp_Latn")
    by_hand = ClusterPlan.from_clusters({"latin": ["srp_Latn", "hrv"], "cyrillic": ["srp_Cyrl", "bul_Cyrl"]})
    assert by_hand.clusters == {"latin": ["srp_Latn", "hrv"], "cyrillic": ["srp_Cyrl", "bul"]}
    assert (by_hand.cluster_of("srp_Latn"), by_hand.cluster_of("srp_Cyrl")) == ("latin", "cyrillic")
    with pytest.raises(BadInput, match="in several scripts"):
        by_hand.cluster_of("Serbian")
    with pytest.raises(BadInput, match="in this plan already"):
        by_hand.with_language("srp_Latn")


def test_text_and_effects_tell_them_apart() -> None:
    texts = {name: text.split(". ") for name, text in TEXTS.items()}
    distances = text_distances(texts)
    assert set(distances.languages) == {"srp_Latn", "srp_Cyrl", "hrv", "uzb"}
    row = distances.subset(["srp_Latn", "hrv", "srp_Cyrl"]).values[0]
    assert row[1] < row[2]  # spelling is compared: Croatian is nearer than the same words in other letters
    effects = Effects.of(["srp_Latn", "srp_Cyrl"], [[0.0, 0.5], [0.25, 0.0]])
    assert effects.subset(["srp_Cyrl", "srp_Latn"])[0, 1] == 0.25


def test_a_folder_may_hold_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write(tmp_path, TEXTS)
    assert [source.code for source in find_sources(folder)] == ["hrv", "srp_Cyrl", "srp_Latn", "uzb"]
    assert [source.code for source in find_sources(folder, ["sr-Latn", "hr"])] == ["hrv", "srp"]
    with pytest.raises(BadInput, match="Say which: srp_Cyrl or srp_Latn"):
        find_sources(folder, ["srp"])
    with pytest.raises(BadInput, match="no text for 'uzb_Cyrl'"):
        find_sources(folder, ["uzb_Cyrl"])
    write(tmp_path, {"srp": "jedan dan"})
    with pytest.raises(BadInput, match=r"same language .*name the script of each"):
        find_sources(folder)


def test_the_other_script_is_a_source_with_its_own_text(tmp_path: Path) -> None:
    folder = write(tmp_path, TEXTS)
    report = rank_sources("srp_Latn", corpora=folder, cache=tmp_path / "cache")
    assert (report.target, report.target_name) == ("srp_Latn", "Serbian (Latin)")
    found = {score.language: score for score in report.ranking}
    assert set(found) == {"srp_Cyrl", "hrv", "uzb"}
    twin, croatian = found["srp_Cyrl"].signals, found["hrv"].signals
    assert twin["shared_script"] == 0.0 and croatian["shared_script"] == 1.0
    assert twin["word_overlap"] == 0.0 and twin["latin_overlap"] > croatian["word_overlap"] > 0.3
    assert "no shared script (Cyrillic, the target Latin)" in found["srp_Cyrl"].warnings
    assert report.ranking[0].language in ("srp_Cyrl", "hrv")
    assert "overlap in Latin letters" in report.to_markdown()


def test_text_in_another_script_is_not_the_targets(tmp_path: Path) -> None:
    corpora = {"srp_Cyrl": write(tmp_path, TEXTS) / "srp_Cyrl.txt", "hrv": tmp_path / "hrv.txt"}
    report = rank_sources("srp_Latn", ["srp_Cyrl", "hrv"], corpora, cache=tmp_path / "cache")
    assert any("no text of Serbian (Latin)" in warning for warning in report.warnings)
    with pytest.raises(BadInput, match="Say which"):
        rank_sources("srp", corpora=write(tmp_path, TEXTS), cache=tmp_path / "cache")


def test_quality_may_be_of_a_script_or_of_the_language() -> None:
    points = ["srp_Latn", "srp_Cyrl", "swh"]
    assert quality_of(points, {"srp": 2.0, "swa_Latn": 1.0}).tolist() == [2.0, 2.0, 1.0]
    found = quality_of(points, {"srp_Latn": 3.0, "sr_Cyrl": 4.0})
    assert found[:2].tolist() == [3.0, 4.0] and np.isnan(found[2])


def test_words_in_latin_letters() -> None:
    assert romanised(["понедељак", "kuća", "ABC", "東京", "12"]) >= {"ponedeljak", "kuca", "abc", "12"}
    assert romanised([]) == set()
