"""Read a run that another process may be changing: the complete state either before or after the change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clustering.errors import BadInput
from xelm.run.records.manifest import FILE_NAME
from xelm.run.transaction import is_decided

_MOST_TRIES = 20
_PAUSE_S = 0.05
Value = TypeVar("Value")


class RunChangedError(BadInput):
    """Another process changed the run since it was opened."""


def read_whole(run: Path, read: Callable[[], Value]) -> Value:
    """Read several files of a run that belong together.

    Files are moved only after the manifest has changed (`xelm.run.transaction`). So if the manifest is the same before
    and after reading, all that was read belongs to one state.

    Args:
        run: The run directory.
        read: Reads the manifest first, then what it needs; called again if the run changed meanwhile.

    Raises:
        BadInput: As `read` does, of a run that did not change meanwhile.
    """
    for _ in range(_MOST_TRIES):
        before, moving = manifest_bytes(run), is_decided(run)
        try:
            value = read()
        except (BadInput, OSError):
            if manifest_bytes(run) == before and not moving:
                raise
            time.sleep(_PAUSE_S)  # a file was just being moved into place
        else:
            if manifest_bytes(run) == before:
                return value
    return read()  # raises the last failure


@dataclass
class Follow:
    """Notices when another process changes a run, at the cost of one look at its manifest's date."""

    run: Path
    stamp: tuple[int, int, int] | None
    """Inode, time of the last change and size of the manifest's file; None if there is no file."""
    content: bytes | None
    """Content of the manifest when the run was opened."""

    @classmethod
    def of(cls, run: Path) -> Follow:
        """Begin before the run is read."""
        return cls(run, _stamp(run), manifest_bytes(run))

    def changed(self) -> bool:
        """Whether the manifest has changed. A run that is gone has not: the models in memory continue to answer."""
        stamp = _stamp(self.run)
        if stamp is None or stamp == self.stamp:
            return False
        content = manifest_bytes(self.run)
        if content is not None and content != self.content:
            return True
        self.stamp = stamp
        return False


def _stamp(run: Path) -> tuple[int, int, int] | None:
    try:
        status = (run / FILE_NAME).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def manifest_bytes(run: Path) -> bytes | None:
    """Content of the manifest; None if there is none."""
    try:
        return (run / FILE_NAME).read_bytes()
    except OSError:
        return None
