"""Whether a run is already all that a training would make of it: then nothing is written."""

from __future__ import annotations

import json

from clustering.errors import BadInput
from clustering.files import read_json
from clustering.plans.plan import plan_to_json
from xelm.making.workspace import Workspace
from xelm.run.folder import RunFolder
from xelm.run.records.manifest import FILE_NAME, Manifest
from xelm.run.verify import verify

_COMPARED = ("format_version", "recipe", "data", "packages", "base", "dense", "experts")


def is_complete(workspace: Workspace, manifest: Manifest, *, report: bool) -> bool:
    """Whether the run on disk is finished, is that of this manifest and this plan, and no file of it has changed.

    Args:
        workspace: The run to be trained.
        manifest: As it would be written, with every model; its metrics and checksums are not compared.
        report: Whether an evaluation and a report are wanted.
    """
    try:
        return _is_as_wanted(workspace, manifest, report=report) and not verify(workspace.run)
    except BadInput:  # a damaged file is made again
        return False


def _is_as_wanted(workspace: Workspace, manifest: Manifest, *, report: bool) -> bool:
    file, plan = workspace.run / FILE_NAME, RunFolder(workspace.run).plan
    if not file.is_file() or not plan.is_file():
        return False
    there, wanted = read_json(file), json.loads(json.dumps(manifest.to_dict()))
    if not isinstance(there, dict) or any(there.get(key) != wanted[key] for key in _COMPARED):
        return False
    if report and RunFolder(workspace.run).report.name not in there.get("files", ()):
        return False
    return bool(read_json(plan) == json.loads(json.dumps(plan_to_json(workspace.plan))))
