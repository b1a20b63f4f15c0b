"""Work in a run that was made with another recipe, text or parent: refused, or removed with --redo."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from clustering.errors import BadInput, arg
from xelm.making.again.identity import changes, recorded_manifest
from xelm.making.make_model import finished_entry, is_extended, is_made
from xelm.making.portable import portable_recipe
from xelm.making.workspace import Workspace
from xelm.run.experts import ExpertSet
from xelm.run.names import DENSE
from xelm.run.records.manifest import Manifest
from xelm.training.checkpoint import newest_step

_WORK_FOLDER = re.compile(r"(?P<name>.+)-[0-9a-f]{12}")
_MOST_CHANGES = 6


def clear_other_inputs(workspace: Workspace, *, redo: bool) -> None:
    """Before anything is written, refuse a run made from other inputs, or remove what the recipe no longer has.

    This holds for finished and half-trained models: nothing is removed unless the user asked for it.

    Raises:
        BadInput: If there is such work and `redo` is false; the message names the changes that the manifest shows.
    """
    makings = list(workspace.makings.all().values())
    others = [making for making in makings if finished_entry(making.folder) and not is_made(making)]
    changed = [making.folder for making in others if not is_extended(making)]
    ours = {making.folder for making in makings}
    there = [workspace.run / DENSE, *sorted((workspace.run / "experts").glob("*"))]
    left_over = [folder for folder in there if folder.is_dir() and folder not in ours]
    begun = _begun(workspace.run, {making.stage.checkpoints for making in makings if making.stage})
    if (changed or left_over or begun) and not redo:
        raise BadInput(_refusal(workspace, [*changed, *left_over], begun))
    if (others or left_over) and ExpertSet.load(workspace.run).is_blended:
        how = arg("redo", True) if changed or left_over else "a longer training"
        raise BadInput(
            f"{workspace.run}: its experts were moved back to the base (xelm blend), and {how} would "
            "lose them and what they were. Undo it first: `xelm blend RUN --keep 1`."
        )
    for folder in (*left_over, *begun):
        shutil.rmtree(folder)


def _begun(run: Path, ours: set[Path]) -> list[Path]:
    """Folders of half-trained models that no model of this recipe would continue from."""
    folders = [path for path in sorted((run / "work").glob("*")) if path.is_dir() and path not in ours]
    return [path for path in folders if _WORK_FOLDER.fullmatch(path.name) and newest_step(path) is not None]


def _refusal(workspace: Workspace, models: list[Path], begun: list[Path]) -> str:
    recorded = recorded_manifest(workspace.run)
    found = changes(_as_recorded(workspace, recorded), recorded, workspace.inputs.fingerprints) if recorded else []
    more = [f"and {len(found) - _MOST_CHANGES} more"] if len(found) > _MOST_CHANGES else []
    why = f" What changed: {'; '.join([*found[:_MOST_CHANGES], *more])}." if found else ""
    if models:
        what = f"{models[0]}: made with another recipe, data or parent."
    else:
        halves = ", ".join(f"{_name_of(path)} (up to step {newest_step(path)})" for path in begun)
        what = f"{workspace.run}: half trained with another recipe, data or parent: {halves}."
    return f"{what}{why} Train into another {arg('out')}, or give {arg('redo', True)} to retrain it."


def _as_recorded(workspace: Workspace, recorded: Manifest) -> dict[str, Any]:
    """The recipe, with paths that may equal the recorded ones written in the same way as these."""
    table = portable_recipe(workspace.recipe)
    for section, key in (("data", "path"), ("base", "model"), ("clusters", "plan")):
        before, now = recorded.recipe.get(section, {}).get(key), table[section][key]
        if isinstance(before, str) and isinstance(now, str) and Path(before).name == Path(now).name:
            table[section][key] = before
    return table


def _name_of(folder: Path) -> str:
    found = _WORK_FOLDER.fullmatch(folder.name)
    return found["name"] if found else folder.name
