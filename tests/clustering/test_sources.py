"""Source ranking: who is compared, what the score is made of, what it warns of, and the reports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustering.errors import BadInput
from clustering.sources.candidates import CandidateRules
from clustering.sources.profiles import Tokenizer, profile_texts
from clustering.sources.rank import rank_sources
from clustering.sources.signals import default_contributions, typology_signals

CHARACTERS = Tokenizer(name="characters", tokenize=lambda texts: [list(text) for text in texts])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    texts = {
        "swh_Latn": "watu wote wamezaliwa huru hadhi na haki zao ni sawa\n" * 4,
        "zul": "bonke abantu bazalwa bekhululekile belingana ngesithunzi nangamalungelo\n" * 40,
        "deu": "alle menschen sind frei und gleich an würde und rechten geboren\n" * 400,
        "hin": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता\n" * 4,
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_relatives_come_before_strangers() -> None:
    assert rank_sources("Swahili", ["kor", "deu", "zul", "hin"]).ranking[0].language == "zul"
    assert rank_sources("nld", ["jpn", "afr", "fin"]).ranking[0].language == "afr"


def test_the_target_is_no_candidate_under_any_of_its_codes() -> None:
    assert rank_sources("sw", ["swh", "swa", "zul", "Swahili"]).ranking.codes() == ["zul"]
    with pytest.raises(BadInput, match="No candidate beside the target"):
        rank_sources("swa", ["swh"])


def test_all_of_uriel_is_ranked_without_candidates() -> None:
    report = rank_sources("swa", top=5, rules=CandidateRules(all_languages=True))
    assert report.num_candidates > 7000
    assert len(report.ranking) == 5
    assert not {"swa", "swh"} & set(rank_sources("swa").ranking.codes())


def test_all_of_uriel_can_be_cut_to_languages_that_many_speak() -> None:
    few = rank_sources("swa", min_speakers=1_000_000)
    assert 100 < few.num_candidates < 1000
    assert {"zul", "deu"} <= set(few.ranking.codes())
    assert not {"ymk", "swa", "swh"} & set(few.ranking.codes())  # Makwe has some tens of thousands


@pytest.mark.parametrize("with_text", [False, True])
def test_contributions_sum_to_the_score(corpus: Path, tmp_path: Path, with_text: bool) -> None:
    text = {"corpora": corpus, "tokenizer": CHARACTERS, "cache": tmp_path / "cache"} if with_text else {}
    for entry in rank_sources("swa", ["zul", "deu", "hin", "kor"], **text).ranking:  # type: ignore[arg-type]
        assert entry.score == pytest.approx(sum(entry.contributions.values()))
        assert ("subword_overlap" in entry.contributions) == with_text


def test_typology_keeps_the_order_of_two_candidates_whatever_else_is_compared() -> None:
    few = rank_sources("eus", ["spa", "tur"]).ranking
    many = rank_sources("eus", ["spa", "tur", "fra", "jpn", "kat", "quy"]).ranking
    gap = {entry.language: entry.score for entry in few}
    wide = {entry.language: entry.score for entry in many}
    assert gap["spa"] - gap["tur"] == pytest.approx(wide["spa"] - wide["tur"])


def test_candidates_default_to_those_with_text(corpus: Path, tmp_path: Path) -> None:
    report = rank_sources("swa", corpora=corpus, cache=tmp_path / "cache")
    assert sorted(report.ranking.codes()) == ["deu", "hin", "zul"]
    assert "swa" in report.profiles


def test_warnings_say_what_the_ranking_lacks(corpus: Path, tmp_path: Path) -> None:
    report = rank_sources("swa", ["zul", "hin", "yor", "lvs", "abc"], corpora=corpus, cache=tmp_path / "cache")
    warnings = {entry.language: " | ".join(entry.warnings) for entry in report.ranking}
    assert "no shared script (Devanagari, the target Latin)" in warnings["hin"]
    assert "no text" in warnings["yor"]
    assert "no text" not in warnings["zul"]
    assert "no syntactic feature is known of both" in warnings["abc"] or "typology rests on" in warnings["abc"]
    assert "its corpus has" in warnings["zul"]
    assert any("no tokenizer" in warning for warning in report.warnings)


def test_a_language_uriel_does_not_know_is_ranked_by_text_alone() -> None:
    texts = {"zul": "umuntu ngumuntu", "deu": "ein mensch", "hbs": "umuntu"}
    profiles = {code: profile_texts([text]) for code, text in texts.items()}
    report = rank_sources("hbs", corpora=profiles)
    assert report.ranking[0].signals["word_overlap"] is not None


def test_without_text_of_the_target_sources_count_by_size(corpus: Path, tmp_path: Path) -> None:
    report = rank_sources("yor", corpora=corpus, cache=tmp_path / "cache")
    assert any("no text of Yoruba" in warning for warning in report.warnings)
    assert "source_size" in report.ranking[0].contributions


def test_more_data_counts_for_a_small_target_only() -> None:
    raw = {"source_size": np.array([1e3, 1e5]), "size_ratio": np.array([1e3, 1e5]) / 1e2}
    small = default_contributions(raw)["size_ratio"]
    large = default_contributions({**raw, "size_ratio": raw["source_size"] / 1e8})["size_ratio"]
    assert small[1] - small[0] > 4
    assert 0 <= large[1] - large[0] < 0.01


def test_unknown_values_count_as_the_mean() -> None:
    parts = default_contributions({"syntactic": np.array([0.1, np.nan, 0.3])})
    assert parts["syntactic"].tolist() == pytest.approx([1.0, 0.0, -1.0])


def test_signals_of_a_pair_do_not_depend_on_the_others() -> None:
    alone = typology_signals("fin", ["est"])
    among = typology_signals("fin", ["kor", "est", "deu"])
    for name, values in alone.raw.items():
        assert values[0] == pytest.approx(among.raw[name][1]), name


def test_reports_hold_the_same_ranking(corpus: Path, tmp_path: Path) -> None:
    report = rank_sources("swa", corpora=corpus, tokenizer=CHARACTERS, cache=tmp_path / "cache")
    for suffix in ("html", "md", "json"):
        report.save(tmp_path / f"r.{suffix}")
    page, markdown = ((tmp_path / f"r.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "md"))
    stored = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert [row["language"] for row in stored["ranking"]] == report.ranking.codes()
    for entry in report.ranking:
        assert f"{entry.score:+.2f}" in page
        assert f"{entry.score:+.2f}" in markdown
        assert entry.name in page
        assert entry.name in markdown
        assert all(warning in page and warning in markdown for warning in entry.warnings)
    assert not re.search(r'(src|href)\s*=\s*"http|@import|url\(', page)
    with pytest.raises(BadInput, match=r"\.html, \.md, \.json"):
        report.save(tmp_path / "r.pdf")


def test_names_in_a_report_are_escaped(tmp_path: Path) -> None:
    from dataclasses import replace

    report = replace(rank_sources("swa", ["zul", "deu"]), command="<script>alert(1)</script>")
    assert "<script>" not in report.to_html()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "swahlii"}, "Swahili"),
        ({"target": "swa", "candidates": ["zul", "xxxx"]}, "xxxx"),
        ({"target": "swa", "top": 0}, "at least 1"),
        ({"target": "swa", "candidates": ["zul"], "min_speakers": 9}, "leave it out"),
        ({"target": "swa", "min_speakers": 10**11}, "No candidate"),
        ({"target": "swa", "corpora": "/nowhere"}, "no such folder"),
        ({"target": "swa", "corpora": {"zul": "/nowhere.txt"}}, "no such file"),
        ({"target": "swa", "ranker": "/nowhere.json"}, "no such file"),
    ],
)
def test_bad_input_is_explained(arguments: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        rank_sources(**arguments)


def test_a_warning_is_written_once_for_all_languages_it_holds_for() -> None:
    report = rank_sources("swa", top=40)
    warnings = [warning for entry in report.ranking for warning in entry.warnings]
    [shared] = {warning for warning in warnings if warning.startswith("no syntactic feature is known of both")}
    assert warnings.count(shared) > 3
    for text in (report.to_markdown(), re.sub(r"<title>.*?</title>", "", report.to_html())):
        assert text.count(shared) == 1
        assert "left out of 7," in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpora": {"swa": ["habari"], "zul": ["sawubona"]}}, "corpora= of swa is of the type list: give the path"),
        ({"corpora": {"swa": (text for text in ["habari"])}}, "corpora= of swa is of the type generator"),
        ({"candidates": ["zul"], "top": 1.5}, "top=1.5: ask for a whole number"),
        ({"min_speakers": float("nan")}, "min_speakers=nan: give a whole number"),
    ],
)
def test_what_is_no_corpus_and_no_number_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        rank_sources("swa", **options)
