"""How much each expert gained on its own languages and lost on all others, against the base that it came from."""

from __future__ import annotations

from typing import Any

from xelm.report.facts import Facts
from xelm.report.sections.heatmap import shade
from xelm.report.text import signed
from xelm.run.records.results import Forgetting


def forgetting(facts: Facts) -> dict[str, Any] | None:
    """Rows of experts, columns of languages; None without test text.

    Returns:
        `columns` [`Language`], `rows` [{name, keep, colour, own_gain, cost_elsewhere, cells}]; a cell is None if it
        was not measured, `keep` is None if the expert was not moved back to the base.
    """
    table = facts.forgetting
    if not table:
        return None
    measured = [
        code for code in facts.languages if any(code in measurement.change_percent for measurement in table.values())
    ]
    return {
        "columns": [facts.languages[code] for code in measured],
        "rows": [_row(facts, name, table[name], measured) for name in facts.experts.names if name in table],
    }


def _row(facts: Facts, name: str, measurement: Forgetting, measured: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "keep": facts.experts.manifest.experts[name].keep,
        "put_back": facts.experts.manifest.experts[name].put_back,
        "colour": facts.colours.get(name),
        "own_gain": measurement.own_gain_percent,
        "cost_elsewhere": measurement.cost_elsewhere_percent,
        "cells": [_cell(facts, name, code, measurement.change_percent.get(code)) for code in measured],
    }


def _cell(facts: Facts, name: str, code: str, change: float | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {"change": signed(change), "shade": shade(change), "own": facts.languages[code].expert == name}
