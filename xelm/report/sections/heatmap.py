"""The table of models and languages as a heat map, compared with the baseline."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Any

from xelm.evaluation.tables import order_models
from xelm.report.facts import Facts, Language
from xelm.report.text import count, signed
from xelm.run.records.results import Cell

EDGES = (1.0, 3.0, 8.0, 20.0, 50.0)
"""Differences in percent at which each colour begins; below the first, a cell stays blank."""
_MANY_COLUMNS = 12


def heat_map(facts: Facts) -> dict[str, Any] | None:
    """Rows of languages, columns of models and policies; None without test text.

    Returns:
        `columns` [{name, colour, kind}], `rows` (see `_row`), `means`, `baseline`, `legend`, `is_wide`.
    """
    if not facts.models:
        return None
    names = order_models([name for name in facts.experts.models if name in facts.models])
    columns: list[dict[str, Any]] = [
        {"name": name, "colour": facts.colours.get(name), "kind": "model", "figures": facts.models[name]}
        for name in names
    ]
    columns += [{"name": p, "colour": None, "kind": "policy", "figures": f} for p, f in facts.routed.items()]
    columns += [
        {"name": f"{policy} by text", "colour": None, "kind": "policy", "figures": figures}
        for policy, figures in facts.routed_by_text.items()
        if policy == "top1"
    ]
    measured = [code for code in facts.languages if any(code in column["figures"] for column in columns)]
    rows = [_row(facts, facts.languages[code], columns) for code in measured]
    for row, above in zip(rows, [None, *rows], strict=False):
        row["begins"] = above is None or above["language"].expert != row["language"].expert
    return {
        "columns": [{key: column[key] for key in ("name", "colour", "kind")} for column in columns],
        "rows": rows,
        "means": [_mean(facts, column["figures"]) for column in columns],
        "mean_gain": _gain(_mean(facts, facts.answer())),
        "baseline": facts.baseline,
        "legend": _legend(),
        "is_wide": len(columns) > _MANY_COLUMNS,
    }


def shade(change: float | None) -> str:
    """CSS class of a difference in percent: `b5` (far better) … `b1`, `n`, `w1` … `w5` (far worse)."""
    if change is None:
        return "n"
    level = bisect_right(EDGES, abs(change))
    return "n" if level == 0 else f"{'b' if change < 0 else 'w'}{level}"


def _row(facts: Facts, language: Language, columns: list[dict[str, Any]]) -> dict[str, Any]:
    """`language`, `cells`, `gain` (of the routed answer, in percent; None if unknown)."""
    models = [facts.bits(column["figures"], language.code) for column in columns if column["kind"] == "model"]
    best = min((value for value in models if value is not None), default=None)
    return {
        "language": language,
        "cells": [_cell(facts, language, column, best) for column in columns],
        "gain": _gain(facts.change(facts.answer(), language.code)),
    }


def _cell(facts: Facts, language: Language, column: dict[str, Any], best: float | None) -> dict[str, Any] | None:
    cell: Cell | None = column["figures"].get(language.code)
    if cell is None or not cell.bytes:
        return None
    change = facts.change(column["figures"], language.code)
    bits, perplexity = cell.bits_per_byte, cell.perplexity
    is_model = column["kind"] == "model"
    against = "" if change is None else f", {signed(change)} % against {facts.baseline}"
    return {
        "bits": f"{bits:.3f}",
        "perplexity": _perplexity(perplexity),
        "change": "–" if change is None else signed(change),
        "shade": shade(change),
        "own": is_model and column["name"] == language.expert,
        "best": is_model and bits == best,
        "hint": f"{column['name']} on {language.name}: {bits:.4f} bits per byte{against}; perplexity "
        f"{_perplexity(perplexity)} per token; {count(cell.bytes)} bytes in {count(cell.documents)} documents",
    }


def _perplexity(value: float) -> str:
    return f"{value:.3g}" if value < 100 else count(value) if value < 1e6 else f"{value:.0e}"


def _mean(facts: Facts, figures: dict[str, Cell]) -> dict[str, Any]:
    changes = [change for code in facts.compared() if (change := facts.change(figures, code)) is not None]
    mean = sum(changes) / len(changes) if changes else None
    return {"value": mean, "shade": shade(mean)}


def _gain(change: float | dict[str, Any] | None) -> float | None:
    value = change["value"] if isinstance(change, dict) else change
    return None if value is None else -value


def _legend() -> list[dict[str, str]]:
    spans = [f"{low:g}–{high:g}" for low, high in pairwise(EDGES)] + [f"over {EDGES[-1]:g}"]
    better = [{"shade": f"b{level}", "label": span} for level, span in enumerate(spans, start=1)]
    worse = [{"shade": f"w{level}", "label": span} for level, span in enumerate(spans, start=1)]
    return [*reversed(better), {"shade": "n", "label": f"under {EDGES[0]:g}"}, *worse]
