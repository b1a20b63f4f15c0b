"""A run whose experts were moved back to the base, and in the same folder the run as it was before.

`experts/<name>/` holds the moved weights as a plain checkpoint. The trained weights, and the tables, page and manifest
derived from them, are kept under `trained/`, which is built like a run: moved back, they restore the run to the byte.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

from clustering.files import write_json
from xelm.adding.enter import seal
from xelm.blending.moved import Moved, moved_of
from xelm.blending.unread import read_rows, write_rows
from xelm.models.layer_groups import UNREAD
from xelm.run.experts import ExpertSet
from xelm.run.folder import EVALUATIONS, REPORT, SAMPLES, TRAINED, RunFolder, model_path
from xelm.run.names import BASE
from xelm.run.records.entry_file import ENTRY_FILE
from xelm.run.records.manifest import FILE_NAME, Manifest, kept_files

_FOLLOWS = (*EVALUATIONS, SAMPLES, REPORT, FILE_NAME)
"""Files that depend on the experts' weights, besides the weights."""


def take_off(shadow: Path) -> dict[str, Moved]:
    """Restore a blended run to what it was before; do nothing to another run.

    Args:
        shadow: The run, as given by `xelm.run.transaction.edited`.

    Returns:
        Expert -> how it was moved; empty if the run was not blended.
    """
    if not ExpertSet.load(shadow).is_blended:
        return {}
    moved = {
        name: dataclasses.replace(one, rows=read_rows(shadow / model_path(name)))
        for name, one in moved_of(Manifest.read(shadow).experts).items()
    }
    for name in moved:
        shutil.rmtree(shadow / model_path(name))
    for name in _FOLLOWS:
        (shadow / name).unlink(missing_ok=True)
    for name in (*kept_files(shadow / TRAINED), FILE_NAME):
        (shadow / name).parent.mkdir(parents=True, exist_ok=True)
        (shadow / TRAINED / name).rename(shadow / name)
    shutil.rmtree(shadow / TRAINED)
    return moved


def lay_on(shadow: Path, moved: Mapping[str, Moved]) -> None:
    """Move experts of a run that is not blended back to the base, evaluate it again and seal it.

    Args:
        shadow: The run, as given by `xelm.run.transaction.edited`.
        moved: Expert -> how to move it; experts of other names stay.
    """
    manifest = Manifest.read(shadow)
    moved = {name: one for name, one in moved.items() if name in manifest.experts and not one.is_trained}
    if not moved:
        return
    for name in _FOLLOWS:
        if (shadow / name).is_file():
            (shadow / TRAINED / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shadow / name, shadow / TRAINED / name)
    experts = ExpertSet.load(shadow)
    for name, one in moved.items():
        trained = shadow / TRAINED / model_path(name)
        trained.parent.mkdir(parents=True, exist_ok=True)
        (shadow / model_path(name)).rename(trained)
        make_moved(experts, name, trained, shadow / model_path(name), one)
        manifest.experts[name] = dataclasses.replace(manifest.experts[name], **one.fields)
    manifest.write(shadow)
    seal(shadow)


def make_moved(experts: ExpertSet, name: str, trained: Path, target: Path, moved: Moved) -> None:
    """Write an expert moved back to the base into a folder of its own.

    Args:
        experts: The run.
        name: The expert.
        trained: Its folder as it was trained.
        target: The folder to make.
        moved: What of the way from the base is kept.

    Raises:
        BadInput: If there is no way back to the base for this expert.
    """
    shutil.copytree(trained, target)
    layers = tuple(layer for layer in moved.put_back if layer != UNREAD)
    base, rows = experts.files.model(BASE), {"rows": moved.rows.ids} if moved.rows.ids else {}
    experts.kind(name).move_back(target, base, moved.keep, put_back=layers, **rows)
    if moved.rows.unread:
        write_rows(target, moved.rows)
    entry = dataclasses.replace(experts.manifest.experts[name], **moved.fields)
    if (target / ENTRY_FILE).is_file():
        write_json(target / ENTRY_FILE, dataclasses.asdict(entry))


def trained_files(run: Path) -> RunFolder:
    """The paths at which a run is read as it was before its experts were moved."""
    return RunFolder(run, TRAINED)
