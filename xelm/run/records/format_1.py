"""Manifests of format 1 (xelm 0.1), converted to today's format.

Format 1 recorded neither how often a text was read nor how many tokens the weights had seen before. The second follows
from the parents of the models and is filled in. The first stays unknown until `xelm train` plans the run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xelm.run.names import BASE, DENSE
from xelm.run.paths import inside
from xelm.run.records.entry_file import ENTRY_FILE, read_entry

Entry = dict[str, Any]


def upgraded(value: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """A manifest of format 1 as one of format 2.

    Args:
        value: Its JSON; damaged parts are left for the reader to refuse.
        run: Its run, which holds the earlier versions of experts that a language joined.

    Raises:
        BadInput: If the name of an expert is no plain name, or the entry of an earlier version is no JSON object.
    """
    return {**value, **_with_lineage(value, run), "format_version": 2}


def _with_lineage(value: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """The entries of all models with the tokens that their weights had seen, found by following the run's history."""
    base, dense, experts = (value.get(key) for key in (BASE, DENSE, "experts"))
    if not isinstance(base, Mapping) or not isinstance(experts, Mapping):
        return {}
    known: dict[str, Entry] = {BASE: _come_from(base, None)}
    if isinstance(dense, Mapping):
        known[DENSE] = _come_from(dense, known[BASE])
    versions = {name: _versions(run, name, entry) for name, entry in experts.items() if isinstance(entry, Mapping)}
    lines = [line for line in value.get("ledger") or () if isinstance(line, Mapping)]
    added = {str(line.get("expert")) for line in lines if line.get("as") == "new"}
    for name in versions:
        if name not in added:
            known[name] = _come_from(versions[name].pop(0), known[BASE])
    for line in lines:
        name = str(line.get("expert"))
        if left := versions.get(name):
            known[name] = _come_from(left.pop(0), known.get(str(line.get("donor"))))
    found = {name: known.get(name, entry) for name, entry in experts.items()}
    return {"experts": found, **{name: known[name] for name in (BASE, DENSE) if name in known}}


def _versions(run: Path, name: str, entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """An expert's entries from its first version to the present one."""
    entries: list[Mapping[str, Any]] = []
    number = 1
    while (file := inside(run, f"previous/{name}.v{number}/{ENTRY_FILE}", str(run))).is_file():
        entries.append(read_entry(file))
        number += 1
    return [*entries, entry]


def _come_from(entry: Mapping[str, Any], parent: Entry | None) -> Entry:
    before, tokens = parent["tokens_after"] if parent else 0, entry.get("tokens")
    return {
        **entry,
        "parent_fingerprint": parent.get("fingerprint") if parent else None,
        "tokens_before": before,
        "tokens_after": before + tokens if isinstance(tokens, int) else before,
    }
