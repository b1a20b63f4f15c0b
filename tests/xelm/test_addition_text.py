"""What `xelm add` prints of the older languages: what a newcomer costs them, and how their sentences are read."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from xelm.adding.text import addition_text
from xelm.run.records.ledger import BeforeAfter, LedgerEntry, RouteChanges, Routes, TokenizerCheck, TokenizerFit


def line(spanish_after: float, right_after: int) -> LedgerEntry:
    fit = TokenizerFit(1.0, None, 0.0, 0.0)
    before = Routes({"spa": {"spa": 200}, "deu": {"deu": 200}}, {})
    after = Routes({"spa": {"spa": right_after, "por": 200 - right_after}, "deu": {"deu": 200}}, {})
    values: dict[str, Any] = {
        "language": "por",
        "expert": "c2-por",
        "kind": "new",
        "donor": "c1",
        "reason": "",
        "candidates": [],
        "replay": 0.0,
        "tokens": 100,
        "bytes": 100,
        "sha256": "",
        "tokenizer": TokenizerCheck(fit, {"spa": fit}, []),
        "languages_read": [],
        "documents_dropped": 0,
    }
    return LedgerEntry(
        **values,
        bits_per_byte={
            "por": BeforeAfter(4.0, 3.0),
            "spa": BeforeAfter(2.0, spanish_after),
            "deu": BeforeAfter(2.0, 2.0004),
        },
        routes=RouteChanges(before, after, {"spa": BeforeAfter(1.0, right_after / 200), "deu": BeforeAfter(1.0, 1.0)}),
    )


def test_languages_that_a_newcomer_costs_something_are_named():
    text = addition_text(line(2.006, 196))
    assert "cost of por to" in text and "German" not in text.split("cost of por to")[1]
    [row] = [row for row in text.splitlines() if "Spanish (spa)" in row]
    assert row.split() == ["Spanish", "(spa)", "+0.30", "100.0", "98.0"]
    assert "warning" not in text


@pytest.mark.parametrize(("after", "right"), [(2.0004, 200), (2.0, 200)])
def test_nothing_is_said_of_what_costs_nothing(after, right):
    assert "cost of por to" not in addition_text(line(after, right))


def test_a_language_that_is_still_read_at_its_price_but_mistaken_more_often_is_named_too():
    assert "+0.00" in addition_text(line(2.0, 190))


def test_more_than_half_a_percent_is_a_warning():
    text = addition_text(line(2.05, 150))
    assert "warning: Spanish (spa) costs 2.5 % more now" in text and "--as join" in text


def test_the_repair_is_shown_with_the_costs_without_it_and_with_it():
    repaired = dataclasses.replace(line(2.006, 196), prior=-1.0, unrepaired={"por": 2.97, "spa": 2.04, "deu": 2.0004})
    text = addition_text(repaired)
    [row] = [row for row in text.splitlines() if "Spanish (spa)" in row]
    assert row.split() == ["Spanish", "(spa)", "+2.00", "+0.30", "100.0", "98.0"]
    assert (
        "the odds of por are divided by 2.7" in text
        and "por itself pays +1.01 % for it" in text
        and "warning" not in text
    )
    assert "repair" not in addition_text(line(2.006, 196))


def test_a_sentence_read_as_languages_that_share_its_answer_is_read_right():
    routes = Routes({"hrv": {"hrv": 5, "bos/hrv/srp": 4, "bos": 1}}, {})
    assert routes.right("hrv") == 0.9
