"""A language added to, or removed from, a finished run: everything but the weights of the other experts is redone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clustering import ClusterPlan
from clustering.errors import BadInput
from router.combined_identifier import CombinedIdentifier
from xelm.evaluate import evaluate
from xelm.experts import ExpertSet
from xelm.manifest import Manifest, ModelEntry

_FIRST_PLAN = "plan.first.json"
"""The plan the run was trained with, kept while languages are added to it."""


def put_language(shadow: Path, entry: dict[str, Any], texts: Iterable[str], seed: int) -> None:
    """Enter an added language into plan, router and ledger of a run that already holds its model and held-out text.

    Args:
        shadow: The run, as given by `xelm.transaction.edited`.
        entry: Its line of the ledger, with `language`, `expert` and `as` (`new` or `join`).
        texts: Training text, for the identifier.
        seed: Of the identifier's sample.
    """
    if not (shadow / _FIRST_PLAN).exists():
        shutil.copyfile(shadow / "plan.json", shadow / _FIRST_PLAN)
    manifest = Manifest.read(shadow)
    manifest.ledger.append(entry)
    _write_plan(shadow, manifest.ledger)
    identifier = CombinedIdentifier.load(shadow / "router")
    identifier.with_language(entry["language"], texts, seed=seed).save(shadow / "router")
    manifest.write(shadow)


def take_language(shadow: Path, language: str) -> None:
    """Undo `put_language`: plan, router and ledger are as if the language had never come."""
    manifest = Manifest.read(shadow)
    manifest.ledger = [entry for entry in manifest.ledger if entry["language"] != language]
    del manifest.data[language]
    _write_plan(shadow, manifest.ledger)
    if not manifest.ledger:
        (shadow / _FIRST_PLAN).unlink()
    CombinedIdentifier.load(shadow / "router").without_language(language).save(shadow / "router")
    (shadow / "eval" / "heldout" / f"{language}.jsonl").unlink()
    manifest.write(shadow)


def seal(shadow: Path) -> None:
    """Evaluate the changed run, write its report and take every checksum."""
    from xelm.report import write_report

    metrics = evaluate(ExpertSet.load(shadow))
    manifest = Manifest.read(shadow)
    manifest.metrics = metrics
    manifest.write(shadow)
    write_report(ExpertSet.load(shadow))
    manifest.refresh_files(shadow)
    manifest.write(shadow)


def put_model(shadow: Path, made: Path, name: str, entry: ModelEntry) -> None:
    """Put a finished model into the run as expert `name`; one of that name is kept under `previous/`."""
    target = shadow / "experts" / name
    manifest = Manifest.read(shadow)
    if target.exists():
        _move(target, previous_folder(shadow, name))
    shutil.copytree(made, target)
    manifest.experts[name] = entry
    manifest.write(shadow)


def take_model(shadow: Path, name: str) -> None:
    """Undo `put_model`."""
    manifest, target = Manifest.read(shadow), shadow / "experts" / name
    previous = previous_folder(shadow, name, newest=True)
    shutil.rmtree(target)
    if previous.is_dir():
        _move(previous, target)
        from xelm.stages import finished_entry

        entry = finished_entry(target)
        if entry is None:
            raise BadInput(f"{previous}: the earlier version of {name} is not whole.")
        manifest.experts[name] = entry
    else:
        del manifest.experts[name]
    manifest.write(shadow)


def previous_folder(run: Path, name: str, *, newest: bool = False) -> Path:
    """Where the next earlier version of an expert goes, or (`newest`) where the last one went."""
    versions = len(list((run / "previous").glob(f"{name}.v*"))) if (run / "previous").is_dir() else 0
    return run / "previous" / f"{name}.v{versions if newest else versions + 1}"


def heldout_lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a held-out file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _write_plan(shadow: Path, ledger: list[dict[str, Any]]) -> None:
    # Always from the first plan: languages can then leave in any order.
    plan = ClusterPlan.load(shadow / _FIRST_PLAN)
    for entry in ledger:
        plan = plan.with_language(entry["language"], entry["expert"], new=entry["as"] == "new")
    plan.save(shadow / "plan.json")


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def entry_dict(entry: ModelEntry) -> dict[str, Any]:
    """For the ledger."""
    return asdict(entry)
