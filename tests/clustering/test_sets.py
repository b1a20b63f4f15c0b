"""Sets of sources: what each adds, by hand on small vocabularies; and numbers given in place of text."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from clustering import BadInput, rank_sources
from clustering.sources.given import given_signals, read_signals
from clustering.sources.profiles import Profile
from clustering.sources.sets import SCORE_SCALE, TAUGHT, _Items
from xelm import rank_sources as rank_by_name


def profile(words: str) -> Profile:
    return Profile(dict.fromkeys(words.split(), 2), {}, documents=1, num_bytes=9)


def test_a_source_covers_by_its_relevance_and_a_second_one_what_is_left() -> None:
    # Two items of equal weight; the first language has one, the second (relevance e^-1) both.
    has = np.array([[1.0, 0.0], [1.0, 1.0]])
    items = _Items({"words": (has, np.ones(2))}, np.array([1.0, np.exp(-1)]))
    assert items.coverage([0]) == pytest.approx(TAUGHT / 2)
    second = TAUGHT * np.exp(-1)
    assert items.coverage([0, 1]) == pytest.approx((1 - (1 - TAUGHT) * (1 - second) + second) / 2)
    assert items.greedy(2) == ([0, 1] if second <= TAUGHT / 2 else [1, 0])


def test_a_language_with_other_words_is_better_than_one_with_the_same() -> None:
    texts = {
        "ckm": profile("a b c d e f g h"),  # Chakavian: URIEL has no row for it
        "hrv": profile("a b c d e x y"),  # has most of the words
        "srp": profile("a b c d e x z k"),  # nearly as good, with the same words
        "slv": profile("f g h u v w k"),  # has the other words
    }
    report = rank_sources("ckm", ["hrv", "srp", "slv"], texts, sets=2)
    assert report.best_set is not None
    assert report.ranking.codes() == ["hrv", "srp", "slv"]
    assert report.best_set.languages() == ["hrv", "slv"]
    assert report.best_set.coverage > report.best_set.of_best_singles
    added = report.best_set.members[1]
    assert added.gains["words"] > 0.01 and added.gain == pytest.approx(sum(added.gains.values()))
    assert report.best_set.coverage == pytest.approx(sum(member.gain for member in report.best_set.members))


@pytest.mark.parametrize("target", ["swa", "eus", "isl", "tam"])
def test_the_set_found_is_the_best_of_all_among_the_first(target: str) -> None:
    candidates = rank_sources(target, top=9).ranking.codes()
    found = rank_sources(target, candidates, sets=3).best_set
    assert found is not None
    coverages = []
    for members in combinations(candidates, 3):
        rest = [code for code in candidates if code not in members]
        alone = rank_sources(target, [*members, *rest], sets=3).best_set
        assert alone is not None
        coverages.append(alone.coverage)
    assert max(coverages) == pytest.approx(found.coverage)  # the order of the candidates changes nothing
    assert sorted(member.gain for member in found.members) == [m.gain for m in reversed(found.members)]
    assert found.coverage >= found.of_best_singles - 1e-12


def test_a_set_of_one_is_a_source_and_too_large_a_set_is_refused() -> None:
    report = rank_sources("isl", ["fao", "jpn", "swa"], sets=1)
    assert report.best_set is not None and report.best_set.languages() == ["fao"]
    assert "The 1 that together" in report.to_markdown() and "best_set" in report.to_dict()
    for size in (0, 4, True):
        with pytest.raises(BadInput, match="1 to 3"):
            rank_sources("isl", ["fao", "jpn", "swa"], sets=size)
    assert "best_set" not in rank_sources("isl", ["fao", "jpn"]).to_dict()
    assert SCORE_SCALE > 0


def test_a_signed_language_and_one_without_typology_have_what_there_is_to_cover() -> None:
    asl = rank_sources("ase", sets=2).best_set
    assert asl is not None and len(asl.members) == 2
    with pytest.raises(BadInput, match="Nothing is known"):
        rank_sources("ckm", ["hrv", "slv"], sets=1)


def test_numbers_count_as_text_does(tmp_path: Path) -> None:
    texts = {"swa": profile("a b c d"), "zul": profile("a b x y z k"), "eng": profile("c m n o")}
    counted = rank_sources("swa", ["zul", "eng"], texts)
    numbers = {
        "word_overlap": {"Zulu": 2 / 10, "en": 1 / 8},
        "source_size": {"swa": 8, "zul": 12, "eng": 8},
        "source_ttr": {"swh": 0.5, "zul": 0.5, "eng": 0.5},
    }
    given = rank_sources("swa", ["zul", "eng"], signals=numbers)
    assert [score.score for score in given.ranking] == pytest.approx([score.score for score in counted.ranking])
    for name in ("word_overlap", "size_ratio", "ttr_distance", "target_size"):
        assert given.ranking[0].signals[name] == pytest.approx(counted.ranking[0].signals[name])
    file = tmp_path / "numbers.csv"
    file.write_text("lang,Overlap word-level,Size,TTR\nsw,,8,0.5\nzu,0.2,12,0.5\neng,0.125,8,.5\n", encoding="utf-8")
    read = rank_by_name("swa", ["zul", "eng"], signals=file)
    assert [score.score for score in read.ranking] == [score.score for score in given.ranking]
    part = rank_sources("swa", ["zul", "eng"], texts, signals={"word_overlap": {"eng": 0.5}})
    signals = {score.language: score.signals["word_overlap"] for score in part.ranking}
    assert signals == {"zul": pytest.approx(0.2), "eng": 0.5}


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ({"overlap": {"zul": 0.1}}, "'overlap' cannot be given as numbers. Choose of subword_overlap"),
        ({"word_overlap": {"zul": 1.5}}, "word_overlap of Zulu is 1.5: it is a share"),
        ({"source_size": {"zul": -1}}, "at least 0"),
        ({"source_size": {"zul": float("inf")}}, "finite"),
        ({"source_size": {"zul": "many"}}, "a number is needed"),
        ({"source_size": {"xyzzy": 1}}, "Unknown language"),
        ({"syntactic": {"zul": 0.5}}, "cannot be given"),
    ],
)
def test_numbers_that_cannot_be_are_refused(signals: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        rank_sources("swa", ["zul", "eng"], signals=signals)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("language,size\nzul,many\n", "row 2: 'many' is no number"),
        ("language,size\nzul,1\nzu,2\n", "row 3: zu is there twice"),
        ("language,size,words\nzul,1,2\n", "several columns mean source_size"),
        ("language,size\nzul\n", "row 2: 1 cells"),
        ("language\nzul\n", "a heading, and rows"),
    ],
)
def test_a_table_of_numbers_that_cannot_be_read_is_refused(tmp_path: Path, table: str, message: str) -> None:
    file = tmp_path / "numbers.csv"
    file.write_text(table, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        read_signals(file)


def test_sizes_of_nothing_give_no_ratio() -> None:
    raw = given_signals("swa", ["zul"], {"source_size": {"zul": 5.0}, "target_size": 0.0})
    assert np.isnan(raw["size_ratio"]).all()
