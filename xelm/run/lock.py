"""One process at a time changes a run."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import PARTIAL_PREFIX, REPLACED_PREFIX, put_back_replaced, remove
from xelm.run.paths import refuse_links
from xelm.run.transaction import recover

LOCK_FILE = ".lock"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run for this process; remove what a killed process left half written, and complete what it had decided.

    Only processes that change the run need it; readers need no lock and recover nothing (`xelm.run.transaction`).

    Raises:
        BadInput: If another process trains in it, it cannot be written to, or a link in it leads out of it.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise BadInput(f"{run}: cannot be written to ({error.strerror}).") from None
    with os.fdopen(descriptor, "rb+", buffering=0) as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadInput(f"{run / LOCK_FILE}: no regular file. Remove it.")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{run}: another xelm process is working in it. Wait for it, or stop it.") from None
        refuse_links(run)
        _clear_half_written(run)
        recover(run)
        yield


def _clear_half_written(run: Path) -> None:
    # Half-written files inside such a folder are removed with it. Workers that outlived their parent still write.
    for lock in (run / "work").glob("*.lock"):
        if not lock.is_file():
            continue
        with lock.open("r+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
    for folder in sorted({aside.parent for aside in run.rglob(f"{REPLACED_PREFIX}*")}):
        put_back_replaced(folder)
    for partial in sorted(run.rglob(f"{PARTIAL_PREFIX}*")):
        remove(partial)
