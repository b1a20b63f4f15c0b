"""Languages that were added after the run was trained: their donor, the reason for it, and the result."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from clustering import name_of
from xelm.report.facts import Facts, Language
from xelm.report.text import language_tag
from xelm.run.names import BASE, DENSE
from xelm.run.records.ledger import DonorCandidate, LedgerEntry
from xelm.run.records.relatives import paid_for_repair, relative_costs


def additions(facts: Facts) -> list[dict[str, Any]]:
    """A card for each language of the ledger.

    Returns:
        `line` (of the ledger), `language`, `candidates` (least loss first), `results` (see `_results`), `costs` (to
        older languages, see `_costs`), `repair` (see `_repair`) and `forgetting` (see `_forgetting`).
    """
    return [
        {
            "line": line,
            "language": _language(facts, line),
            "candidates": [_candidate(facts, row, line) for row in sorted(line.candidates, key=_loss)],
            "results": _results(facts, line),
            "costs": _costs(facts, line),
            "repair": _repair(line),
            "forgetting": _forgetting(facts, line),
        }
        for line in facts.experts.manifest.ledger
    ]


def _language(facts: Facts, line: LedgerEntry) -> Language:
    code = line.language
    known = facts.languages.get(code)
    return known or Language(code, name_of(code), language_tag(code), line.expert, "currentcolor", True)


def _loss(row: DonorCandidate) -> tuple[float, str]:
    return row.bits_per_byte, row.name


def _candidate(facts: Facts, row: DonorCandidate, line: LedgerEntry) -> dict[str, Any]:
    return {
        **asdict(row),
        "colour": facts.colours.get(row.name),
        "nearest_name": name_of(row.nearest) if row.nearest else None,
        "is_donor": row.name == line.donor,
    }


def _results(facts: Facts, line: LedgerEntry) -> list[dict[str, Any]]:
    """Bits per byte on the language's test text before (donor, base, dense) and after (its expert).

    The donor of a new expert can still be measured. An expert that another language joined has changed: then only base
    and dense show the figures from before.
    """
    code, expert, donor = line.language, line.expert, line.donor
    changed = {other.expert for other in facts.experts.manifest.ledger if other.kind == "join"}
    names = {name: f"before: {name}" for name in (BASE, DENSE)}
    if donor not in changed and donor not in names:
        names[donor] = f"before: {donor}, the donor"
    names[expert] = f"after: {expert}"
    rows = []
    after = facts.bits(facts.models.get(expert, {}), code)
    for name, label in names.items():
        bits = facts.bits(facts.models.get(name, {}), code)
        if bits is not None and after is not None:
            change = None if name == expert else 100 * (after / bits - 1)
            rows.append({"label": label, "bits": bits, "change": change, "colour": facts.colours.get(name)})
    return rows


def _costs(facts: Facts, line: LedgerEntry) -> list[dict[str, Any]]:
    """What older languages pay, the dearest first."""
    return [
        {**asdict(cost), "name": name_of(cost.language), "colour": known.colour if known else None}
        for cost in relative_costs(line)
        for known in [facts.languages.get(cost.language)]
    ]


def _repair(line: LedgerEntry) -> dict[str, float] | None:
    """By what the odds of the language are divided, and what it pays for that in percent; None without a prior."""
    return {"odds": math.exp(-line.prior), "pays": paid_for_repair(line)} if line.prior else None


def _forgetting(facts: Facts, line: LedgerEntry) -> list[dict[str, Any]]:
    """Own gain and cost elsewhere of the donor and the language's expert at that time, if they were recorded."""
    if line.forgetting is None:
        return []
    before, after = line.forgetting.before.get(line.donor), line.forgetting.after.get(line.expert)
    rows = [(f"before: {line.donor}", line.donor, before), (f"after: {line.expert}", line.expert, after)]
    return [
        {
            "label": label,
            "colour": facts.colours.get(name),
            "own_gain": measurement.own_gain_percent,
            "cost_elsewhere": measurement.cost_elsewhere_percent,
        }
        for label, name, measurement in rows
        if measurement
    ]
