"""Check that a manifest's statements on models and additions agree with each other and with the run's files.

A name may stand for other weights later: if a language joins an expert, the expert becomes a new version of itself, and
becomes the earlier one again if the language is removed. So parents are identified by fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clustering import ClusterPlan
from xelm.run.folder import TRAINED, RunFolder
from xelm.run.names import BASE, DENSE, is_base, is_expert
from xelm.run.records.entry_file import ENTRY_FILE, read_entry
from xelm.run.records.ledger import LedgerEntry
from xelm.run.records.manifest import FILE_NAME, Manifest, ModelEntry
from xelm.run.records.results import Evaluation

_SHARED = ("languages", "parent", "kind", "tokens", "fingerprint", "keep")
"""Fields of a model that both its own file and the manifest hold."""


def lineage_problems(run: Path, manifest: Manifest) -> list[str]:
    """The statements that cannot be true, one line for each."""
    files = RunFolder(run)
    problems = list(_entry_problems(files, manifest))
    if not manifest.ledger or not files.plan.is_file():
        return problems
    plan, codes = ClusterPlan.load(files.plan), [line.language for line in manifest.ledger]
    for position, line in enumerate(manifest.ledger):
        last = all(later.expert != line.expert for later in manifest.ledger[position + 1 :])
        where = f"{FILE_NAME}, ledger, {line.language}"
        problems += [f"{where}: {why}" for why in _line_problems(manifest, plan, line, last)]
        if line.language in codes[:position]:
            problems.append(f"{where}: is there twice")
    if any(_aligned_later(entry, manifest) for entry in manifest.experts.values()):
        return problems  # the figures of the newest addition are those from before that
    return problems + list(_figure_problems(files, manifest.ledger[-1]))


def origin(run: Path, manifest: Manifest, name: str) -> str:
    """The parent of a model in a few words: a model of the run, an earlier version of one, or one that is gone."""
    entry = entries(manifest)[name]
    if entry.parent is None:
        return "new"
    if is_base(name) or entry.parent_fingerprint is None:
        return entry.parent
    present = entries(manifest).get(entry.parent)
    if present is not None and present.fingerprint == entry.parent_fingerprint and entry.parent != name:
        return entry.parent
    files = RunFolder(run)
    if is_expert(entry.parent):
        for version in range(1, files.num_versions(entry.parent) + 1):
            if _own(files.previous(entry.parent, version)).get("fingerprint") == entry.parent_fingerprint:
                return f"{entry.parent} (version {version}, kept)"
    return f"{entry.parent} (a version that is gone)"


def entries(manifest: Manifest) -> dict[str, ModelEntry]:
    """The entries of all models by name: base, experts, dense."""
    found = {BASE: manifest.base, **manifest.experts, DENSE: manifest.dense}
    return {name: entry for name, entry in found.items() if entry}


def _entry_problems(files: RunFolder, manifest: Manifest) -> Iterator[str]:
    for name, entry in entries(manifest).items():
        if is_expert(name) and entry.parent is None:
            yield f"{FILE_NAME}: {name} came from no model"
        own = _own(files.model(name))
        wrong = [key for key in _SHARED if key in own and own[key] != getattr(entry, key)]
        if wrong:
            yield f"{FILE_NAME}: {', '.join(wrong)} of {name} are not what {name}/{ENTRY_FILE} says"


def _line_problems(manifest: Manifest, plan: ClusterPlan, line: LedgerEntry, last: bool) -> Iterator[str]:
    entry, counts = manifest.experts.get(line.expert), manifest.data.get(line.language)
    if entry is None:
        yield f"there is no expert {line.expert}"
        return
    if line.language not in plan.clusters.get(line.expert, []) or line.language not in entry.languages:
        yield f"it is not among the languages of {line.expert}"
    if line.kind == "join" and line.donor != line.expert:
        yield f"it joined {line.expert}, and its donor is {line.donor}"
    if line.donor not in {candidate.name for candidate in line.candidates}:
        yield f"its donor {line.donor} was none of the candidates"
    if last and (line.donor, line.tokens) != (entry.parent, entry.tokens):
        yield f"{line.expert} came from {entry.parent} ({entry.tokens} tokens), not from {line.donor} ({line.tokens})"
    if not isinstance(counts, dict) or counts.get("sha256") != line.sha256 or counts.get("bytes") != line.bytes:
        yield "its text is not the one under data"


def _aligned_later(entry: ModelEntry, manifest: Manifest) -> bool:
    """Whether an expert was trained on pairs after the newest addition."""
    return entry.aligned is not None and entry.aligned.get("additions", 0) >= len(manifest.ledger)


def _figure_problems(files: RunFolder, newest: LedgerEntry) -> Iterator[str]:
    """Compare the figures of the newest addition with those of the run, whose trained experts they belong to."""
    file = RunFolder(files.path, TRAINED).evaluation("test")
    measured = Evaluation.read(file).routed.get("top1", {}) if file.is_file() else {}
    if set(newest.bits_per_byte) - set(measured):
        return  # a language that was there then was removed since, so that texts may go to other experts
    for code, figure in newest.bits_per_byte.items():
        if figure.after != measured[code].bits_per_byte:
            yield f"{FILE_NAME}, ledger, {newest.language}: bits per byte of {code} are not those of eval/test.json"


def _own(folder: Path) -> dict[str, object]:
    file = folder / ENTRY_FILE
    return dict(read_entry(file)) if file.is_file() else {}
