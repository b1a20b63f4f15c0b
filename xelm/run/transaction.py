"""Changing a finished run all at once or not at all.

The change is made to a shadow: a second run directory inside `work/`, whose files are hard links to the run's. When the
shadow is right, a journal of what differs is written (whole), then the files are moved. A process killed before the
journal leaves the run as it was; one killed after it leaves a journal that the next reader of the run completes.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clustering.files import read_json, sha256_of, write_json
from xelm.run.manifest import FILE_NAME, kept_files

_JOURNAL = "work/journal.json"
_SHADOW = "work/shadow"
logger = logging.getLogger(__name__)


@contextmanager
def edited(run: Path) -> Iterator[Path]:
    """Give a shadow of the run to change; on success the run becomes equal to it, on any error it stays as it is.

    The caller holds the run's lock (`xelm.run.lock.locked`) and replaces files of the shadow whole, never in place:
    they are links to the run's own.

    Yields:
        The shadow's path.
    """
    recover(run)
    shadow = run / _SHADOW
    shutil.rmtree(shadow, ignore_errors=True)
    for name in (*kept_files(run), FILE_NAME):
        (shadow / name).parent.mkdir(parents=True, exist_ok=True)
        _link(run / name, shadow / name)
    # What is measured while the change is made may be kept: the cache is no part of the run.
    (run / "cache").mkdir(exist_ok=True)
    (shadow / "cache").symlink_to(Path("..") / ".." / "cache")
    try:
        yield shadow
        _write_journal(run, shadow)
    except BaseException:
        # With its journal written the change is decided, and the shadow is needed to complete it.
        if not unfinished(run):
            shutil.rmtree(shadow, ignore_errors=True)
        raise
    recover(run)


def unfinished(run: Path) -> bool:
    """Whether a change is decided but not complete, so that the run's files are a mix until `recover`."""
    return (run / _JOURNAL).is_file()


def recover(run: Path) -> None:
    """Complete a change whose journal is there; does nothing otherwise. Safe to repeat after any interruption."""
    if not unfinished(run):
        return
    journal, shadow = run / _JOURNAL, run / _SHADOW
    change = read_json(journal)
    for name in change["replace"]:
        if (shadow / name).exists():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (shadow / name).replace(run / name)
    for name in change["remove"]:
        (run / name).unlink(missing_ok=True)
        _remove_empty_folders((run / name).parent, run)
    journal.unlink()
    shutil.rmtree(shadow, ignore_errors=True)
    _remove_empty_folders(journal.parent, run)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _write_journal(run: Path, shadow: Path) -> None:
    before, after = kept_files(run), kept_files(shadow)
    replaced = [name for name in (*after, FILE_NAME) if not _same(run / name, shadow / name)]
    removed = sorted(set(before) - set(after))
    write_json(run / _JOURNAL, {"replace": replaced, "remove": removed})


def _same(one: Path, other: Path) -> bool:
    if not one.exists():
        return False
    return one.samefile(other) or sha256_of(one) == sha256_of(other)


def _remove_empty_folders(folder: Path, stop: Path) -> None:
    while folder != stop and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
