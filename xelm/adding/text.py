"""An addition as text for the terminal: donor, tokenizer, and what changed for whom."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from clustering.languages.codes import name_of


def addition_text(line: dict[str, Any]) -> str:
    """The ledger's line of an addition, told to a person."""
    code = line["language"]
    how = "an expert of its own" if line["as"] == "new" else "which takes it in"
    parts = [
        f"{name_of(code)} ({code}) is in {line['expert']} now, {how}, from {line['donor']}",
        _candidates(line),
        line["reason"],
        _tokenizer(line),
        _losses(line),
        _routes(line),
    ]
    return "\n".join(part for part in parts if part)


def _candidates(line: dict[str, Any]) -> str:
    rows = [
        [
            f"{row['name']}{'*' if row['name'] == line['donor'] else ''}",
            row["bits_per_byte"],
            row["distance"],
            row["nearest"],
            row["overlap"],
            row["subword_overlap"],
        ]
        for row in line["candidates"]
    ]
    headers = ["donor", "bits per byte", "typology", "nearest", "words shared", "subwords shared"]
    return tabulate(rows, headers=headers, floatfmt=".3f", missingval="-")


def _tokenizer(line: dict[str, Any]) -> str:
    own, others = line["tokenizer"]["own"], line["tokenizer"]["others"].values()
    usual = sorted(fit["tokens_per_byte"] for fit in others)
    pieces = max((fit["fallback_share"] for fit in others), default=0.0)
    return "\n".join(
        [
            f"tokenizer: {own['tokens_per_byte']:.2f} tokens a byte (the run's languages "
            f"{usual[0]:.2f} to {usual[-1]:.2f}), {own['fallback_share']:.0%} pieces of characters (at most "
            f"{pieces:.0%}), {own['unknown_share']:.1%} unknown",
            *(f"  warning: {warning}" for warning in line["tokenizer"]["warnings"]),
        ]
    )


def _losses(line: dict[str, Any]) -> str:
    code, cells = line["language"], line["bits_per_byte"]
    own = cells[code]
    others = [cell for other, cell in cells.items() if other != code and cell["before"] is not None]
    same = sum(cell["before"] == cell["after"] for cell in others)
    told = f"bits per byte, routed: {code} {own['before']:.3f} before, {own['after']:.3f} after"
    if same == len(others):
        return f"{told}; the other {len(others)} languages exactly as before"
    worst = max(others, key=lambda cell: cell["after"] / cell["before"])
    change = 100 * (worst["after"] / worst["before"] - 1)
    return f"{told}; {same} of {len(others)} other languages exactly as before, the largest change {change:+.2f} %"


def _routes(line: dict[str, Any]) -> str:
    code, right = line["language"], line["routes"]["right"]
    parts = [f"{100 * right[code]['after']:.1f} % of the new language"] if code in right else []
    others = [cell for other, cell in right.items() if other != code]
    if others:
        before, after = (100 * sum(cell[when] for cell in others) / len(others) for when in ("before", "after"))
        parts.append(f"{after:.2f} % of the others ({before:.2f} % before)")
    return f"held-out sentences read as their language: {', '.join(parts)}" if parts else ""
