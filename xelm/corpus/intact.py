"""Folders of a cache that can be checked against what was written.

When a folder is made, size, SHA-256 and stamp (inode, times of change) of every file are written beside them. To read
all of a large store at every start would take long, so a file with its original stamp is trusted; any other is read
completely. An overwritten file cannot keep its stamp; a copied one has another stamp and is read.
"""

from __future__ import annotations

import time
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import read_json, sha256_of, write_json

CHECKSUMS = "checksums.json"
_TICK_S = 0.02
"""Longer than a tick of a file system's clock, so that a file written after it has another time."""


def seal(folder: Path) -> None:
    """Record the content of the folder; nothing in it may be written afterwards."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != CHECKSUMS)
    entries = {file.name: {"sha256": sha256_of(file), "stamp": stamp(file)} for file in files}
    time.sleep(_TICK_S)
    write_json(folder / CHECKSUMS, entries)


def is_sealed(folder: Path) -> bool:
    """Whether `seal` recorded the content of the folder; older folders have no record."""
    return (folder / CHECKSUMS).is_file()


def damage(folder: Path) -> str | None:
    """The fault of a sealed folder, in words that begin with a file's name; None if it is intact."""
    try:
        content = read_json(folder / CHECKSUMS)
        entries = [(str(name), str(e["sha256"]), list(e["stamp"])) for name, e in content.items()]
    except (BadInput, AttributeError, KeyError, TypeError, RecursionError):
        return f"{CHECKSUMS} cannot be read"
    for name, sha256, sealed in entries:
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        found = stamp(file)
        if found[0] != sealed[0]:
            return f"{name} holds {found[0]:,} bytes where {sealed[0]:,} were written"
        if found != sealed and sha256_of(file) != sha256:
            return f"{name} holds other bytes than were written"
    return None


def stamp(file: Path) -> list[int]:
    """Size, inode, and times of the last change of content and of inode."""
    status = file.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
