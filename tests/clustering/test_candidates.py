"""Candidates that exist: living languages of the target's modality of which there is text, or others asked for."""

from __future__ import annotations

from pathlib import Path

import iso639
import pytest

from clustering import rank_sources
from clustering.errors import BadInput
from clustering.languages import iso
from clustering.languages.codes import same_language_key, to_code
from clustering.languages.facts import evidence_of_text, facts_of, is_signed, parent_of, signed_languages
from clustering.plans.effects import Effects
from clustering.sources.candidates import CandidateRules
from clustering.sources.report import place_of

# Two targets or so of each of 30 families, isolates, creoles and macrolanguages among them.
TARGETS = " ".join(
    (
        "deu hin ell hye lit gle als ckb swa yor wol zul hau amh som kab zgh fin hun myv tur uzb mon kat che abk tam",
        "brh vie khm sat tha lao zho bod mya hmn mri tgl mlg fij jpn kor ain eus que aym grn nav cre kal nhe yua wbp",
        "pjt tpi hat san luo kau bam ewe chr",
    )
).split()


def test_the_targets_are_many() -> None:
    assert len(TARGETS) >= 60


@pytest.mark.parametrize("target", TARGETS)
def test_the_first_ten_are_living_languages_of_which_there_is_text(target: str) -> None:
    for entry in rank_sources(target, top=10).ranking:
        known = iso639.Language.from_part3(entry.language)
        assert (known.scope, known.type, known.status) == ("I", "L", "A"), entry
        assert not is_signed(entry.language)
        assert evidence_of_text(entry.language)
        assert (entry.facts.scope, entry.facts.type, entry.facts.modality) == ("individual", "living", "spoken")


def test_a_language_stands_once_under_its_individual_code() -> None:
    codes = rank_sources("deu").ranking.codes()
    assert len({same_language_key(code) for code in codes}) == len(codes)
    assert {"swh", "arb", "cmn", "zsm", "npi"} <= set(codes)
    assert not {"swa", "ara", "zho", "msa", "nep"} & set(codes)


def test_what_was_left_out_is_one_line_with_numbers() -> None:
    report = rank_sources("swa")
    assert report.left_out.startswith("left out of 7,")
    for words in ("macrolanguages", "extinct", "constructed", "signed", "without enough evidence of text"):
        assert words in report.left_out
    assert rank_sources("swa", ["zul", "deu"]).left_out == ""


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (CandidateRules(types=("extinct",), min_text=0), "dcr"),
        (CandidateRules(types=("constructed", "living")), "epo"),
        (CandidateRules(modality="signed"), "gsg"),
        (CandidateRules(min_text=0), "sxu"),
        (CandidateRules(all_languages=True), "hbs"),
    ],
)
def test_every_other_kind_can_be_asked_for(rules: CandidateRules, found: str) -> None:
    assert found in rank_sources("deu", rules=rules).ranking.codes()
    assert found not in rank_sources("deu").ranking.codes()


def test_even_all_languages_are_codes_that_the_program_takes() -> None:
    codes = rank_sources("deu", rules=CandidateRules(all_languages=True)).ranking.codes()
    assert all(to_code(code) == code for code in codes)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"types": ("dead",)}, "no type of language"),
        ({"modality": "whistled"}, "spoken or signed"),
        ({"min_text": 9}, "choose 0 to 3"),
    ],
)
def test_rules_that_cannot_be_are_refused(rules: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        CandidateRules(**rules)  # type: ignore[arg-type]


def test_american_sign_language_is_near_french_and_spoken_neighbours_count_nothing() -> None:
    report = rank_sources("ase", top=10)
    assert "fsl" in report.ranking.codes()[:3]
    assert all(is_signed(code) for code in report.ranking.codes())
    assert set(report.ranking[0].contributions) == {"shared_family", "geographic"}
    mixed = rank_sources("ase", ["eng", "fsl", "spa"])
    assert mixed.ranking.codes()[0] == "fsl"
    english = next(entry for entry in mixed.ranking if entry.language == "eng")
    assert (english.signals["geographic"], english.signals["syntactic"]) == (None, None)


@pytest.mark.parametrize(("target", "relatives"), [("nsi", {"ase"}), ("bfi", {"asf", "nzs"}), ("swl", {"fse", "psr"})])
def test_the_family_of_a_sign_language_leads(target: str, relatives: set[str]) -> None:
    assert relatives & set(rank_sources(target, top=3).ranking.codes())


def test_every_documented_descent_is_between_sign_languages() -> None:
    children = [code for code in signed_languages() if parent_of(code)]
    assert len(children) > 30
    assert all(is_signed(str(parent_of(code))) for code in children)


def test_invented_languages_have_no_place_on_earth() -> None:
    assert place_of("epo") is None
    report = rank_sources("epo", ["ita", "deu"])
    assert all(entry.signals["geographic"] is None for entry in report.ranking)
    beside = rank_sources("ita", ["epo", "deu"]).ranking
    assert [entry.signals["geographic"] is None for entry in beside if entry.language == "epo"] == [True]


def test_facts_of_a_language() -> None:
    facts = facts_of("swh")
    assert (facts.script, facts.text) == ("Latn", ("cldr", "identifiers", "wikipedia"))
    assert facts.speakers > 10_000_000
    assert iso.languages()["lat"].type == facts_of("lat").type


def test_the_quality_of_sources_is_a_signal_like_any(tmp_path: Path) -> None:
    plain = rank_sources("swa", ["zul", "deu", "kor"])
    (tmp_path / "q.csv").write_text("language,score\nKorean,90\nzul,10\n")
    for quality in ({"kor": 90.0, "zul": 10.0}, tmp_path / "q.csv"):
        entries = {
            entry.language: entry for entry in rank_sources("swa", ["zul", "deu", "kor"], quality=quality).ranking
        }
        # 90 and 10 are one standard deviation (40) from their mean; German, of which nothing is known, counts as it.
        parts = {code: entry.contributions["quality"] for code, entry in entries.items()}
        assert parts == pytest.approx({"kor": 1.0, "zul": -1.0, "deu": 0.0})
        before = {entry.language: entry.score for entry in plain.ranking}
        assert entries["kor"].score == pytest.approx(before["kor"] + 1.0)


def test_measured_effects_are_a_signal_of_their_own(tmp_path: Path) -> None:
    """Against the matrix itself: the row is the language trained on, the column the target."""
    effects = Effects.of(["swa", "zul", "kor"], [[0, 9, 9], [-0.3, 0, 9], [0.1, 9, 0]])
    effects.save(tmp_path / "effects.json")
    before = {entry.language: entry.score for entry in rank_sources("swh", ["zul", "deu", "kor"]).ranking}
    for given in (effects, tmp_path / "effects.json"):
        report = rank_sources("swh", ["zul", "deu", "kor"], effects=given)
        entries = {entry.language: entry for entry in report.ranking}
        # -0.3 and 0.1 are one standard deviation (0.2) from their mean; less is better.
        parts = {code: entry.contributions["effect"] for code, entry in entries.items()}
        assert parts == pytest.approx({"zul": 1.0, "kor": -1.0, "deu": 0.0})
        assert entries["zul"].signals["effect"] == pytest.approx(-0.3)
        assert entries["zul"].score == pytest.approx(before["zul"] + 1.0)
    nothing = rank_sources("fin", ["est", "kor"], effects=effects)
    assert "the effects given are of none of the candidates on this target" in nothing.warnings


@pytest.mark.parametrize(
    ("text", "message"), [("zul,1\nzul,2", "twice"), ("zul,much\nkor,x", "no finite number"), ("", "no rows")]
)
def test_a_bad_table_of_quality_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "q.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        rank_sources("swa", ["zul", "kor"], quality=tmp_path / "q.csv")
