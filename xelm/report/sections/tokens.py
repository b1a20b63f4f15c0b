"""What the same text costs in each language."""

from __future__ import annotations

from typing import Any

from clustering.errors import BadInput
from xelm.report.facts import Facts
from xelm.vocabulary.fairness import Cost, costs, figures


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
        "cells": figures(cost, none="–"),
    }
