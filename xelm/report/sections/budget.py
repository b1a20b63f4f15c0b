"""How many tokens each model was trained on, and how often each text was read."""

from __future__ import annotations

from typing import Any

from xelm.report.facts import Facts, expert_tokens
from xelm.run.names import BASE, DENSE
from xelm.run.records.lineage import origin
from xelm.run.records.manifest import ModelEntry

_MANY_LANGUAGES = 12


def budget(facts: Facts) -> dict[str, Any]:
    """Stages with their tokens and epochs, and the amount of text of each language.

    Returns:
        `stages` (base, experts, dense), `texts` (a row per language), `experts_total`, `dense_total`.
    """
    manifest = facts.experts.manifest
    entries = {BASE: manifest.base, **{n: manifest.experts[n] for n in facts.experts.names}, DENSE: manifest.dense}
    there = {name: entry for name, entry in entries.items() if entry}
    most = max((entry.tokens for entry in there.values()), default=0) or 1
    epochs = {name: entry.epochs or {} for name, entry in there.items()}
    return {
        "stages": [_stage(facts, name, entry, most, epochs[name]) for name, entry in there.items()],
        "texts": [_text(facts, code, epochs) for code in facts.languages if code in manifest.data],
        "experts_total": expert_tokens(facts),
        "dense_total": manifest.dense.tokens if manifest.dense else None,
    }


def _stage(facts: Facts, name: str, entry: ModelEntry, most: int, epochs: dict[str, float]) -> dict[str, Any]:
    known = sorted(epochs.values())
    return {
        "name": name,
        "colour": facts.colours.get(name),
        "parent": entry.parent and origin(facts.experts.path, facts.experts.manifest, name),
        "kind": entry.kind,
        "languages": _names(facts, entry.languages),
        "tokens": entry.tokens,
        "width": f"{100 * entry.tokens / most:.2f}",
        "epochs": _range(known[0], known[-1]) if known else None,
        "is_recorded": entry.epochs is not None or not entry.tokens,
    }


def _text(facts: Facts, code: str, epochs: dict[str, dict[str, float]]) -> dict[str, Any]:
    language, counts = facts.languages[code], facts.experts.manifest.data[code]
    columns = {"base": BASE, "expert": language.expert, "dense": DENSE}
    return {
        "language": language,
        "counts": counts,
        "epochs": {title: epochs.get(name, {}).get(code) for title, name in columns.items()},
    }


def _names(facts: Facts, codes: list[str]) -> str:
    if len(codes) > _MANY_LANGUAGES:
        return f"{len(codes)} languages"
    return ", ".join(facts.languages[code].name for code in codes if code in facts.languages)


def _range(low: float, high: float) -> str:
    return f"{high:.1f}" if high - low < 0.05 else f"{low:.1f}–{high:.1f}"
