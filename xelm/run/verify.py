"""`verify`: compare a run with its manifest, and the manifest's statements with each other."""

from __future__ import annotations

from pathlib import Path

from clustering.errors import BadInput
from clustering.files import read_json, sha256_of
from xelm.run.names import is_expert
from xelm.run.paths import inside, plain_name
from xelm.run.records.lineage import lineage_problems
from xelm.run.records.manifest import DIGEST, FILE_NAME, Manifest, digest, kept_files
from xelm.run.transaction import current, is_decided


def verify(run: Path) -> list[str]:
    """Compare every file of a run with the manifest.

    If a change is decided but not yet moved into place (`xelm.run.transaction`), files that the change will remove are
    no problem.

    Returns:
        One line for each file that is missing, changed or not in the manifest, and for each statement of the manifest
        that does not agree with the files or with itself (`xelm.run.records.lineage`); empty if all is well.

    Raises:
        BadInput: If a name in the manifest is no path inside the run.
    """
    manifest = Manifest.read(run)
    check_names(run, manifest)
    problems = _own_problems(run, manifest)
    for name in sorted(manifest.files):
        file = current(run, name)
        if not file.is_file():
            problems.append(f"missing: {name}")
        elif sha256_of(file) != manifest.files[name]:
            problems.append(f"changed: {name}")
    if not is_decided(run):
        problems += [f"not in the manifest: {name}" for name in kept_files(run) if name not in manifest.files]
    return problems


def not_covered(run: Path) -> list[str]:
    """Sentences on what `verify` cannot check."""
    if DIGEST in read_json(run / FILE_NAME):
        return []
    return [f"{FILE_NAME} itself is not covered: an earlier version of xelm wrote it, without a checksum of its own"]


def _own_problems(run: Path, manifest: Manifest) -> list[str]:
    """Problems of the manifest: it was changed after it was written, or the run's files contradict it."""
    value = read_json(run / FILE_NAME)
    problems = []
    if DIGEST in value and value[DIGEST] != digest(value):
        problems.append(f"changed: {FILE_NAME}")
    elif DIGEST not in value and value.get("format_version") != 1:
        problems.append(f"{FILE_NAME}: its own checksum is gone")
    return problems + lineage_problems(run, manifest)


def check_names(run: Path, manifest: Manifest) -> None:
    """Refuse a manifest in which a name that becomes a path is invalid or leads out of the run.

    Raises:
        BadInput: If there is such a name; the message holds the first.
    """
    file = str(run / FILE_NAME)
    for name in manifest.experts:
        if not is_expert(plain_name(name, file)):
            raise BadInput(f"{file}: an expert is called {name}, as no expert can be.")
    for name in manifest.files:
        inside(run, name, file)
    for line in manifest.ledger:
        for key in ("language", "expert", "donor"):
            plain_name(getattr(line, key), f"{file}, ledger, {key}")
    for code, counts in manifest.data.items():
        plain_name(code, f"{file}, data")
        if isinstance(counts, dict) and counts.get("cache") is not None:
            plain_name(counts["cache"], f"{file}, data, {code}")
