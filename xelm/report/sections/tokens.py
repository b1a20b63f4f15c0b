"""What the same text costs in each language."""

from __future__ import annotations

from typing import Any

from xelm.report.facts import Facts
from xelm.vocabulary.fairness import costs


def tokens(facts: Facts) -> list[dict[str, Any]]:
    """Rows of languages, the dearest first: {language, own_pieces, cells}; empty without held-out text."""
    return [
        {
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
        for cost in costs(facts.experts)
    ]


def _figure(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"
