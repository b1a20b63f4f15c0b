"""Held-out text never moves: the rows' own word, or a hash of the text."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.corpora.rows import Row
from clustering.errors import BadInput
from tests.xelm.conftest import sentences
from xelm.corpus.splits import SMALL_CORPUS, split_rows


def _split(texts: list[str], valid: float = 0.1, test: float = 0.1) -> dict[str, str]:
    rows = list(split_rows([Row(text) for text in texts], valid=valid, test=test, name="deu"))
    return {row.text: str(row.split) for row in rows}


def test_the_rows_own_word_holds_and_a_row_without_one_is_train() -> None:
    rows = [Row("a", "dev", 1), Row("b", "test", 2), Row("c", None, 3), Row("d", "validation"), Row("e", "train")]
    split = list(split_rows(rows, valid=0.5, test=0.4, name="deu"))
    assert [row.split for row in split] == ["valid", "test", "train", "valid", "train"]
    assert [(row.text, row.id) for row in split] == [(row.text, row.id) for row in rows]


def test_rows_that_begin_to_name_their_split_late_are_refused() -> None:
    rows = [Row(f"text {i}") for i in range(SMALL_CORPUS)] + [Row("told", "test")]
    with pytest.raises(
        BadInput, match=r"deu: document 201 names its split \(test\).* Let all of them name it, or none"
    ):
        list(split_rows(rows, valid=0.1, test=0.1, name="deu"))


def test_shares_of_a_large_corpus_come_out_about_right() -> None:
    counts = Counter(_split([f"document {i}" for i in range(20_000)], valid=0.05, test=0.1).values())
    assert counts["valid"] / 20_000 == pytest.approx(0.05, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("number", [60, SMALL_CORPUS, 1000])
def test_the_lowest_hashes_are_held_out_so_that_other_programs_can_tell_which(number: int) -> None:
    texts = sentences("deu", number)
    shares = {text: int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32 for text in texts}
    split = _split(texts)
    for lower, upper in (("valid", "test"), ("test", "train")):
        assert max(shares[t] for t in texts if split[t] == lower) < min(shares[t] for t in texts if split[t] == upper)


def test_documents_of_a_large_corpus_stay_where_they_are_when_others_come_or_the_order_changes() -> None:
    texts = [f"document {i}" for i in range(SMALL_CORPUS + 50)]
    before = _split(texts)
    shuffled = random.Random(0).sample(texts, len(texts)) + [f"new {i}" for i in range(500)]
    after = _split(shuffled)
    assert {text: after[text] for text in texts} == before


@pytest.mark.parametrize("number", [30, 60, SMALL_CORPUS - 1])
def test_a_small_corpus_holds_out_its_share_and_at_least_one_document_each(number: int) -> None:
    counts = Counter(_split(sentences("deu", number), valid=0.02, test=0.1).values())
    assert counts["valid"] == max(1, round(0.02 * number))
    assert counts["test"] == max(1, round(0.1 * number))


def test_a_small_corpus_is_split_alike_in_any_order() -> None:
    texts = sentences("deu", 60)
    assert _split(texts[::-1]) == _split(texts)


@pytest.mark.parametrize("number", [31, 150, SMALL_CORPUS, 400])
def test_a_text_that_comes_twice_is_not_in_two_splits(number: int) -> None:
    texts = [f"document {i}" for i in range(number)] * 3
    where: dict[str, set[str | None]] = {}
    for row in split_rows([Row(text) for text in texts], valid=0.08, test=0.11, name="deu"):
        where.setdefault(row.text, set()).add(row.split)
    assert [splits for splits in where.values() if len(splits) > 1] == []


@pytest.mark.parametrize(
    "texts",
    [
        ["Eins ist da. Zwei kam! Drei? Vier geht. Fünf."],
        ["一つある。二つある。三つ！四つ。"],
        ["एक है। दो है। तीन है। चार।"],
        ["ein Satz ohne Punkt\nein zweiter\nein dritter", "noch einer"],
    ],
)
def test_a_few_long_documents_are_cut_at_sentence_and_line_ends_without_losing_text(texts: list[str]) -> None:
    split = _split(texts, valid=0.02, test=0.02)
    assert set(split.values()) == {"train", "valid", "test"}
    kept = "".join(split).replace(" ", "")
    assert sorted(kept) == sorted("".join(texts).replace(" ", "").replace("\n", ""))


def test_nothing_is_held_out_where_nothing_is_asked_for() -> None:
    assert set(_split(sentences("deu", 60), valid=0, test=0).values()) == {"train"}
    assert set(_split(["One document."], valid=0, test=0).values()) == {"train"}
    assert set(_split([f"document {i}" for i in range(300)], valid=0, test=0).values()) == {"train"}


@pytest.mark.parametrize("texts", [["Ein einziger Satz."], ["Eins. Zwei."]])
def test_too_little_text_is_named_with_the_remedy(texts: list[str]) -> None:
    with pytest.raises(BadInput, match=r"deu: \d document\(s\) are too few to hold out valid and test text. Add text"):
        _split(texts)


@given(
    st.lists(st.text(min_size=1).filter(str.strip), min_size=30, max_size=40, unique=True),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
)
def test_every_document_is_in_one_split(texts: list[str], valid: float, test: float) -> None:
    rows = list(split_rows([Row(text) for text in texts], valid=valid, test=test, name="deu"))
    assert [row.text for row in rows] == texts
    assert {row.split for row in rows} <= {"train", "valid", "test"}
