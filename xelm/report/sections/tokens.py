"""What the same text costs in each language."""

from __future__ import annotations

from typing import Any

from clustering.errors import BadInput
from xelm.report.facts import Facts
from xelm.vocabulary.fairness import Cost, costs


def tokens(facts: Facts) -> dict[str, Any]:
    """The section's values.

    Returns:
        `rows`, the dearest language first: {language, own_pieces, cells}, empty without held-out text; `unreadable`:
        whether a tokenizer could not be read, so that nothing was measured.
    """
    try:
        found = costs(facts.experts)
    except BadInput:  # its words name folders of this machine
        return {"rows": [], "unreadable": True}
    return {"rows": [_row(facts, cost) for cost in found], "unreadable": False}


def _row(facts: Facts, cost: Cost) -> dict[str, Any]:
    return {
        "language": facts.languages[cost.language],
        "own_pieces": cost.own_pieces,
        "cells": [
            _figure(cost.tokens_per_byte, 3),
            _figure(cost.tokens_per_word, 2),
            _figure(cost.tokens_per_parallel, 0),
            _figure(cost.against_english, 2),
            f"{100 * cost.fallback_share:.1f}",
            f"{100 * cost.unknown_share:.2f}",
            _figure(cost.bits_per_byte, 3),
        ],
    }


def _figure(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"
