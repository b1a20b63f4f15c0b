"""Names that a run's files hold, turned into paths; no other module does this.

A run may come from anybody, so a name in its manifest, ledger, plan or tables is only a claim. Nothing outside the run
is read or written for it: a name that is absolute, climbs, is no plain name, or leads out of the run through a link is
refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from clustering.errors import BadInput

_LONGEST_NAME_BYTES = 200


def plain_name(name: object, where: str) -> str:
    """Check a name that is one component of a path: the name of a model, a language or a folder of the cache.

    Args:
        name: The name that was read.
        where: Where it stands, for the message.

    Raises:
        BadInput: If it is no string, or empty, too long, hidden (`.x`), not printable, or has a separator in it.
    """
    if not isinstance(name, str) or not name or name.startswith(".") or not name.isprintable():
        raise BadInput(f"{where}: {_shown(name)} is no name for a file or folder.")
    if any(mark in name for mark in "/\\") or len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        raise BadInput(f"{where}: {_shown(name)} is no plain name; a name without / and \\ is expected.")
    return name


def inside(run: Path, name: object, where: str) -> Path:
    """The path of a file of the run.

    Args:
        run: The run directory.
        name: The path inside it that was read, with `/`.
        where: Where it stands, for the message.

    Raises:
        BadInput: If it is absolute, climbs (`..`), holds a component that is no plain name, or leads out of the run
            through a link.
    """
    if not isinstance(name, str) or not name or PurePosixPath(name).as_posix() != name:
        raise BadInput(f"{where}: {_shown(name)} is no path inside the run.")
    for part in name.split("/"):
        plain_name(part, where)
    refuse_leaving(run, run / name)
    return run / name


def refuse_leaving(run: Path, path: Path) -> None:
    """Refuse a path under a run that leads out of it through a link.

    Files of a snapshot in the hub's cache are links to the cache's `blobs`: these are the run's own.

    Raises:
        BadInput: If it leads out of the run, or in circles.
    """
    try:
        real = path.resolve()
        if not any(real == root or root in real.parents for root in _roots(run)):
            raise BadInput(f"{path}: is a link that leads out of the run. Put the file itself there.")
    except (OSError, RuntimeError):
        raise BadInput(f"{path}: is a link that leads nowhere.") from None


def refuse_links(run: Path) -> None:
    """Refuse to change a run in which a link leads out of it, so that nothing outside can be written or removed.

    Raises:
        BadInput: With the first such link.
    """
    for path in _links(run):
        refuse_leaving(run, path)


def _roots(run: Path) -> Iterator[Path]:
    real = run.resolve()
    yield real
    if real.parent.name == "snapshots":
        yield real.parent.parent / "blobs"


def _links(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                yield path


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:77]}…"
