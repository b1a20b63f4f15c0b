"""One attempt to make one model of a run; if it fails, the reason is kept for the process that waits for it."""

from __future__ import annotations

import fcntl
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from xelm.making.make_model import Making, make_model
from xelm.run.failures import Failure, disk_failure, in_a_sentence
from xelm.run.folder import RunFolder
from xelm.training.processes import processes

logger = logging.getLogger(__name__)


def attempt(run: Path, name: str, making: Making, *, redo: bool = False) -> Failure | None:
    """Make a model; a failure is returned and kept under `work/`, not raised.

    Two attempts at one model never run at a time: the second waits, and then finds it finished.

    Raises:
        OSError: If the disk is full or read-only, since the next model would fail too.
    """
    _record(run, name).unlink(missing_ok=True)
    try:
        with _model_lock(run, name):
            make_model(making, RunFolder(run).log(name), redo=redo)
    except Exception as error:  # the failure of one model must not stop the others
        if disk_failure(error):
            raise
        failure = Failure(in_a_sentence(error), isinstance(error, BadInput))
        logger.error("%s failed: %s", name, failure.reason)
        note_failure(run, name, failure)
        _note_traceback(run, name)
        return failure
    return None


def note_failure(run: Path, name: str, failure: Failure) -> None:
    """Keep the reason why a model was not made, unless one is known already: a later error explains less."""
    if not _record(run, name).is_file():
        write_json(_record(run, name), asdict(failure))


def known_failure(run: Path, name: str) -> Failure | None:
    """Why the last attempt at a model failed; None if there was none or it did not."""
    file = _record(run, name)
    if not file.is_file():
        return None
    value = read_json(file)
    fits = isinstance(value, dict) and isinstance(value.get("reason"), str) and isinstance(value.get("bad_input"), bool)
    if not fits:
        raise BadInput(f"{file}: no record of a failed training. Remove it.")
    return Failure(value["reason"], value["bad_input"])


def forget_failure(run: Path, name: str) -> None:
    """Remove the record of the last attempt."""
    _record(run, name).unlink(missing_ok=True)


def model_lock_file(run: Path, name: str) -> Path:
    """The lock that the process that makes a model holds."""
    return run / "work" / f"{name}.lock"


def _record(run: Path, name: str) -> Path:
    return run / "work" / f"{name}.failed.json"


def _note_traceback(run: Path, name: str) -> None:
    folder = run / "logs"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.traceback.txt").open("a", encoding="utf-8") as handle:
        handle.write(traceback.format_exc())


@contextmanager
def _model_lock(run: Path, name: str) -> Iterator[None]:
    if not processes().is_main_process:  # the processes of one training hold it together
        yield
        return
    file = model_lock_file(run, name)
    file.parent.mkdir(exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
