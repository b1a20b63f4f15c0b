"""Results as tables for the terminal."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from xelm.run.experts import ExpertSet
from xelm.run.names import BASE, DENSE


def model_table(result: dict[str, Any]) -> str:
    """Bits per byte of every model on every language, its own expert marked, and what routing makes of them.

    Args:
        result: What `evaluate_on` returns.
    """
    models, routed, owners = result["models"], result["routed"], result["owners"]
    first = next(iter(models.values()))
    headers = ["language", *models, *routed, *(["gain %"] if DENSE in models else [])]
    rows = []
    for code in first:
        cells = [
            f"{models[name][code]['bits_per_byte']:.3f}{'*' if owners.get(code) == name else ''}" for name in models
        ]
        cells += [f"{routed[policy][code]['bits_per_byte']:.3f}" for policy in routed]
        if DENSE in models:
            gain = result["summary"].get("gain_percent", {}).get(code)
            cells.append("-" if gain is None else f"{gain:+.1f}")
        rows.append([code, *cells])
    text = tabulate(rows, headers=headers, disable_numparse=True, stralign="right")
    return f"bits per byte on {result['split']} text (* the language's own expert)\n{text}\n{summary_line(result)}"


def summary_line(result: dict[str, Any]) -> str:
    """Whether it helped, in one line."""
    summary = result["summary"]
    if "wins" not in summary:
        return "no dense baseline in this run, so nothing to compare the routed experts with"
    return (
        f"routed experts (top1) beat dense at equal tokens on {summary['wins']} of {summary['languages']} languages; "
        f"mean gain {summary['mean_gain_percent']:+.1f} % bits per byte"
    )


def result_table(experts: ExpertSet) -> str:
    """The table of a finished run's own test text."""
    result = experts.result("test")
    return model_table(result) if result else "no test text in this run, so no table"


def order_models(names: list[str]) -> list[str]:
    """Base and dense first, experts after them."""
    return sorted(names, key=lambda name: (name != BASE, name != DENSE))
