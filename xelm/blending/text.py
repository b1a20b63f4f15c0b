"""The result of moving experts back to the base: their own gain and cost elsewhere before and after."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from xelm.run.experts import ExpertSet
from xelm.run.records.heldout import SPLITS
from xelm.run.records.results import Evaluation, Forgetting

_HEADERS = ["expert", "λ", "own gain %", "before", "kept", "cost elsewhere %", "before", "left"]


def blend_table(experts: ExpertSet) -> dict[str, Any]:
    """For JSON.

    Returns:
        `valid` and `test` (None without such text): expert -> `keep` (λ), `put_back` (layers), `own_gain_percent` and
        `cost_elsewhere_percent` with `before` (as trained) and `after`, `gain_kept` and `cost_left` (shares of before;
        None where before was not positive).
    """
    return {split: _split(experts, split) for split in SPLITS}


def blend_text(experts: ExpertSet) -> str:
    """For the terminal."""
    parts = []
    for split, rows in blend_table(experts).items():
        if rows is None:
            parts.append(f"no {split} text in this run, so nothing measured on it")
            continue
        lines = [_line(name, row) for name, row in rows.items()]
        text = tabulate(lines, headers=_HEADERS, disable_numparse=True, stralign="right")
        parts.append(f"each expert against the base on {split} text\n{text}")
    if not experts.is_blended:
        parts.append("every expert is as it was trained")
    return "\n\n".join(parts)


def _line(name: str, row: dict[str, Any]) -> list[str]:
    own, elsewhere = row["own_gain_percent"], row["cost_elsewhere_percent"]
    return [
        name,
        _how(row["keep"], row["put_back"]),
        _number(own["after"], "+.1f"),
        _number(own["before"], "+.1f"),
        _number(row["gain_kept"], ".3f"),
        _number(elsewhere["after"], "+.1f"),
        _number(elsewhere["before"], "+.1f"),
        _number(row["cost_left"], ".3f"),
    ]


def _how(keep: float, put_back: list[str]) -> str:
    back = f"without {' '.join(put_back)}" if put_back else ""
    return back if back and keep == 1 else f"{keep:.2f} {back}".strip()


def _split(experts: ExpertSet, split: str) -> dict[str, Any] | None:
    after, before = experts.result(split), experts.trained().result(split)
    if after is None or before is None:
        return None
    return {
        name: {
            "keep": experts.manifest.experts[name].keep or 1.0,
            "put_back": experts.manifest.experts[name].put_back,
            **_compared(_of(before, name), _of(after, name)),
        }
        for name in experts.names
    }


def _of(result: Evaluation, name: str) -> Forgetting:
    return result.forgetting.get(name, Forgetting({}, None, None))


def _compared(before: Forgetting, after: Forgetting) -> dict[str, Any]:
    return {
        "own_gain_percent": {"before": before.own_gain_percent, "after": after.own_gain_percent},
        "cost_elsewhere_percent": {"before": before.cost_elsewhere_percent, "after": after.cost_elsewhere_percent},
        "gain_kept": _share(after.own_gain_percent, before.own_gain_percent),
        "cost_left": _share(after.cost_elsewhere_percent, before.cost_elsewhere_percent),
    }


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None or whole <= 0 else part / whole


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
