"""The progress of every model of a run, read from its manifest, checkpoints, logs and locks while it trains."""

from __future__ import annotations

import fcntl
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from clustering.errors import BadInput
from clustering.files import parse_json
from xelm.launch.attempt import known_failure, model_lock_file
from xelm.run.experts import local_run
from xelm.run.folder import RunFolder
from xelm.run.paths import refuse_leaving
from xelm.run.records.entry_file import ENTRY_FILE
from xelm.run.records.lineage import entries
from xelm.run.records.manifest import FILE_NAME, Manifest, ModelEntry
from xelm.run.verify import check_names
from xelm.training.checkpoint import newest_step

_LAST_BYTES = 4096


@dataclass(frozen=True)
class ModelStatus:
    """The progress of one model."""

    name: str
    state: Literal["pending", "running", "done", "failed"]
    languages: list[str]
    step: int | None = None
    """The last step that was logged; None before the first."""
    num_steps: int | None = None
    tokens: int = 0
    loss: float | None = None
    """Loss in nats per token at that step."""
    tokens_per_s: float | None = None
    checkpoint_step: int | None = None
    """The step from which it would resume; None: from its beginning."""
    reason: str | None = None
    """Why it failed."""


@dataclass(frozen=True)
class RunStatus:
    """The progress of a run."""

    phase: Literal["preparing", "training", "finishing", "done", "stopped"]
    """`stopped`: unfinished, and no process works on it; the same `xelm train` resumes it."""
    models: list[ModelStatus]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run_status(run: str | Path) -> RunStatus:
    """Read the progress of a run without disturbing it.

    Raises:
        BadInput: If it is no run, or its manifest is broken.
    """
    folder = local_run(run)
    at_work = _is_locked(folder / ".lock")
    if not (folder / FILE_NAME).is_file():
        if not RunFolder(folder).cache.is_dir():
            raise BadInput(f"{folder}: no {FILE_NAME} there, so it is no xelm run. Make one with `xelm train`.")
        return RunStatus("preparing" if at_work else "stopped", [])
    manifest = Manifest.read(folder)
    check_names(folder, manifest)
    models = [_model_status(folder, name, entry) for name, entry in entries(manifest).items()]
    return RunStatus(_phase(manifest, models, at_work), models)


def _phase(
    manifest: Manifest, models: list[ModelStatus], at_work: bool
) -> Literal["training", "finishing", "done", "stopped"]:
    if all(model.state == "done" for model in models):
        return "done" if manifest.files else "finishing" if at_work else "stopped"
    return "training" if at_work or any(model.state == "running" for model in models) else "stopped"


def _model_status(run: Path, name: str, entry: ModelEntry) -> ModelStatus:
    files = RunFolder(run)
    point = _last_point(run, files.log(name))
    failure = known_failure(run, name)
    done = entry.state == "done" or (files.model(name) / ENTRY_FILE).is_file()
    running = not done and _is_locked(model_lock_file(run, name))
    return ModelStatus(
        name=name,
        state="done" if done else "running" if running else "failed" if failure else "pending",
        languages=entry.languages,
        step=point.get("step"),
        num_steps=point.get("num_steps"),
        tokens=entry.tokens or point.get("tokens", 0),
        loss=point.get("loss"),
        tokens_per_s=point.get("tokens_per_s"),
        checkpoint_step=None if done else newest_step(files.checkpoints(name, entry.fingerprint)),
        reason=failure.reason if failure and not done and not running else None,
    )


def _last_point(run: Path, log: Path) -> dict[str, Any]:
    refuse_leaving(run, log)
    if not log.is_file():
        return {}
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - _LAST_BYTES))
        lines = handle.read().decode("utf-8", errors="ignore").splitlines(keepends=True)
    # The first line may be cut off, the last one half written; evaluations carry no training loss.
    whole = [line for line in lines if line.startswith("{") and line.endswith("\n") and '"loss"' in line]
    point = parse_json(whole[-1].encode(), str(log)) if whole else {}
    figures = [point.get(key) for key in ("step", "num_steps", "tokens", "loss", "tokens_per_s")]
    if not all(isinstance(figure, int | float | None) for figure in figures):
        raise BadInput(f"{log}: its last line is no point of a training curve.")
    return {key: value for key, value in point.items() if value is not None}


def _is_locked(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
