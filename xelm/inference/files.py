"""Compare a run's files with its manifest before they are used, so that no damaged file is used unnoticed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import sha256_of
from xelm.run.experts import ExpertSet, local_run
from xelm.run.folder import ROUTES_BY, model_path
from xelm.run.names import BASE
from xelm.run.records.manifest import Manifest
from xelm.run.snapshot import RunChangedError
from xelm.run.transaction import current


def check_opening(run: str | Path) -> None:
    """Check the files that decide where a text goes: plan, router, measured losses, tokenizer.

    Args:
        run: Run directory, or hub id of one.

    Raises:
        BadInput: If it is no run, or a file is missing or changed.
    """
    folder = local_run(run)
    manifest = Manifest.read(folder)
    check_files(folder, manifest, filter(_is_read_at_opening, manifest.files))


def check_model(experts: ExpertSet, name: str) -> None:
    """Check every file of one model of the run.

    Raises:
        BadInput: If a file is missing or changed.
    """
    experts.folder(name)  # refuses a name that is no model of the run
    files = [file for file in experts.manifest.files if file.startswith(f"{model_path(name)}/")]
    check_files(experts.path, experts.manifest, files)


def check_files(run: Path, manifest: Manifest, names: Iterable[str]) -> None:
    """Compare files with the SHA-256 in the manifest. Files that it does not list are not checked.

    Args:
        run: Run directory.
        manifest: Its manifest.
        names: Paths inside the run, with `/`.

    Raises:
        BadInput: If one is missing or changed.
    """
    for name in names:
        file = current(run, name)
        what = "missing" if not file.is_file() else "changed since the run was written"
        if file.is_file() and sha256_of(file) == manifest.files[name]:
            continue
        if Manifest.read(run).files != manifest.files:
            raise RunChangedError(f"{run}: another process changed this run since it was opened. Ask again.")
        raise BadInput(f"{file}: {what}. {_remedy(run)}")


def _is_read_at_opening(name: str) -> bool:
    if name.startswith(f"{BASE}/"):
        return not name.endswith(".safetensors")
    return name.startswith(ROUTES_BY)


def _remedy(run: Path) -> str:
    return f"Restore it from a copy, or train again; `xelm verify {run}` lists every such file."
