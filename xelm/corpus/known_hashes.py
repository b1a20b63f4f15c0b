"""SHA-256 of text files, remembered by size and times, so that a second start and every worker read no text."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import read_json, sha256_of, write_json
from xelm.corpus.intact import stamp

_SETTLED_NS = 10**9
"""A file that was changed less than this before it was read may be changed again without another time."""


class KnownHashes:
    """The hashes of files, kept in a file of the cache.

    As in `xelm.corpus.intact`, a file with its original size, inode and times is trusted: what overwrites it cannot
    keep the time at which its inode was changed. Files are known by a hash of their path, so that a run names no
    folder.
    """

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._entries = _read(kept)
        self._changed = False

    def __call__(self, file: Path) -> str:
        """The SHA-256 of a file, in hexadecimal."""
        name, now = hashlib.sha256(str(file.resolve()).encode()).hexdigest(), stamp(file)
        entry = self._entries.get(name)
        if isinstance(entry, dict) and entry.get("stamp") == now and isinstance(entry.get("sha256"), str):
            return str(entry["sha256"])
        began_ns = time.time_ns()
        found = sha256_of(file)
        if began_ns - max(now[2:]) > _SETTLED_NS and stamp(file) == now:
            self._entries[name] = {"stamp": now, "sha256": found}
            self._changed = True
        return found

    def save(self) -> None:
        """Keep what was found, where that can be written: it only saves time."""
        if self._changed:
            with contextlib.suppress(OSError):
                write_json(self._kept, self._entries)


def _read(kept: Path) -> dict[str, Any]:
    try:
        found = read_json(kept) if kept.is_file() else {}
    except BadInput:  # it is only a memory
        return {}
    return found if isinstance(found, dict) else {}
