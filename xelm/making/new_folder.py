"""A model that is made into a new folder: its work lies beside the folder, which appears complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clustering.errors import BadInput
from xelm.making.make_model import finished_entry
from xelm.run.failures import disk_failure_reported
from xelm.run.lock import locked


def is_there(out: Path, fingerprint: str) -> bool:
    """Whether the folder holds the model of this fingerprint.

    Raises:
        BadInput: If it holds anything else.
    """
    if (there := finished_entry(out)) and there.fingerprint == fingerprint:
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: not empty, and not written by the same command. Give a new folder.")
    return False


@contextmanager
def work_beside(out: Path) -> Iterator[Path]:
    """A folder for checkpoints and the like, held by this process; removed if all went well, else resumed from.

    Yields:
        Its path, `<out>.work`.
    """
    work = out.with_name(f"{out.name}.work")
    with disk_failure_reported(out), locked(work):
        yield work
    shutil.rmtree(work)


def put_in_place(made: Path, out: Path) -> None:
    """Give a finished folder of the work its name."""
    if out.is_dir():
        out.rmdir()
    made.rename(out)
