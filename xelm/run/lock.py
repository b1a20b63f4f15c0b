"""One process at a time changes a run."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import PARTIAL_PREFIX
from xelm.run.transaction import recover


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run for this process, clear away what a killed one left half written, complete what it had decided.

    Raises:
        BadInput: If another process trains in it, or it cannot be written to.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = (run / ".lock").open("w")
    except OSError as error:
        raise BadInput(f"{run}: cannot be written to ({error.strerror}).") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{run}: another xelm process is working in it. Wait for it, or stop it.") from None
        _clear_half_written(run)
        recover(run)
        yield


def _clear_half_written(run: Path) -> None:
    # A folder may hold half-written files, which go with it. Workers that outlived their parent still write.
    for lock in (run / "work").glob("*.lock"):
        with lock.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
    for partial in sorted(run.rglob(f"{PARTIAL_PREFIX}*")):
        shutil.rmtree(partial, ignore_errors=True) if partial.is_dir() else partial.unlink(missing_ok=True)
