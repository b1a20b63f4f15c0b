"""Change a finished run all at once or not at all, while other processes read it.

The change is made to a shadow: a second run directory inside `work/`, whose files are hard links to the run's. When the
shadow is right, the parts that differ are put under `next/`, and last of all the new manifest, `next/xelm.json`. Then
comes the switch, one rename: `xelm.json` becomes the new manifest. Only after it the new parts are moved from `next/`
to their places.

So a reader sees one complete state at every moment, even if the process was killed and nobody may write. Before the
switch the two manifests differ, `next/` is ignored and every file is in its place. From the switch on they are the
same, and a part that is still under `next/` is read there (`current`). A part is a whole folder for a model or the
router, else a file. Only a process that holds the lock and changes the run completes such a move.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import atomic_write, read_json, remove, sha256_of, write_json
from xelm.run.paths import inside, refuse_leaving
from xelm.run.records.manifest import FILE_NAME, kept_files

NEXT = "next"
SHADOW = ("work", "shadow")
_LEAVING = "leaving.json"
_REPLACED = "work/replaced"
_OLD_JOURNAL = "work/journal.json"
_FOLDERS = {"base": 1, "dense": 1, "router": 1, "experts": 2, "previous": 2, "trained": 3}
"""Top folders whose files change together, and how many components of a path identify such a part."""
logger = logging.getLogger(__name__)


def current(run: Path, name: str) -> Path:
    """The path at which a file or folder of the run is read, whether or not a change is being moved into place.

    Args:
        run: The run directory.
        name: Path inside it, with `/`: a part (`experts/a`, `router`, `plan.json`) or a file in a part.

    Raises:
        BadInput: If the name is no path, or leads out of the run.
    """
    if is_decided(run):
        moving = inside(run, f"{NEXT}/{part_of(name)}", str(run))
        if moving.exists():
            return inside(run, f"{NEXT}/{name}", str(run))
    return inside(run, name, str(run))


def is_decided(run: Path) -> bool:
    """Whether a change is decided and not all of it is in its place yet."""
    files = (run / NEXT / FILE_NAME, run / FILE_NAME)
    try:
        # Opening a pipe that somebody put there would wait for ever.
        return all(file.is_file() for file in files) and files[0].read_bytes() == files[1].read_bytes()
    except OSError:
        return False


def part_of(name: str) -> str:
    """The part of a run that a file belongs to: its path, or the folder that changes with it as a whole."""
    pieces = name.split("/")
    return "/".join(pieces[: _FOLDERS.get(pieces[0], len(pieces))])


@contextmanager
def edited(run: Path) -> Iterator[Path]:
    """Give a shadow of the run to change; on success the run becomes equal to it, on any error it does not change.

    The caller holds the run's lock (`xelm.run.lock.locked`) and replaces files of the shadow whole, never in place:
    they are links to the run's own.

    Yields:
        The shadow's path.
    """
    recover(run)
    shadow = run.joinpath(*SHADOW)
    remove(shadow)
    for name in (*kept_files(run), FILE_NAME):
        (shadow / name).parent.mkdir(parents=True, exist_ok=True)
        _link(run / name, shadow / name)
    try:
        with _named_as_in(run, shadow):
            yield shadow
        _prepare(run, shadow)
        _switch(run)
    except BaseException:
        # After the switch the change is decided, and what is under next/ belongs to the run.
        if not is_decided(run):
            _forget(run)
        raise
    recover(run)


@contextmanager
def _named_as_in(run: Path, shadow: Path) -> Iterator[None]:
    """Let a message name the run's own file: the shadow, in which it was read, is gone when the user looks."""
    try:
        yield
    except BadInput as error:
        error.args = (str(error.args[0]).replace(str(shadow), str(run)),)
        raise


def recover(run: Path) -> None:
    """Move a decided change into place, or remove what was prepared for an undecided one. It is safe to repeat.

    The caller holds the run's lock.

    Raises:
        BadInput: If an earlier version of xelm was stopped in the middle of a change.
    """
    if (run / _OLD_JOURNAL).exists():
        raise BadInput(
            f"{run / _OLD_JOURNAL}: a change by an earlier version of xelm was stopped half way. If the run is yours, "
            "`xelm info` of that version completes it; if not, remove the file and see what `xelm verify` says."
        )
    if is_decided(run):
        parts = list(_parts_under(run / NEXT))
        for part in parts:
            _put(run, part)
        for name in _leaving(run):
            if name not in parts:
                remove(run / name)
                _remove_empty_folders((run / name).parent, run)
        (run / NEXT / FILE_NAME).unlink()
    _forget(run)


def _prepare(run: Path, shadow: Path) -> None:
    """Put every part that differs under `next/`, then the names of the parts to remove, then the manifest."""
    before, after = _by_part(kept_files(run)), _by_part(kept_files(shadow))
    remove(run / NEXT)
    (run / NEXT).mkdir()
    for part, files in after.items():
        if files != before.get(part) or not all(_same(run / name, shadow / name) for name in files):
            (run / NEXT / part).parent.mkdir(parents=True, exist_ok=True)
            (shadow / part).rename(run / NEXT / part)
    write_json(run / NEXT / _LEAVING, sorted(set(before) - set(after)))
    for folder in (run / NEXT, *(path for path in (run / NEXT).rglob("*") if path.is_dir())):
        _flush_folder(folder)
    (shadow / FILE_NAME).replace(run / NEXT / FILE_NAME)
    _flush_folder(run / NEXT)


def _switch(run: Path) -> None:
    with atomic_write(run / FILE_NAME) as partial:
        shutil.copyfile(run / NEXT / FILE_NAME, partial)
    _flush_folder(run)


def _put(run: Path, part: str) -> None:
    source, target = run / NEXT / part, run / part
    for path in (source, target):
        refuse_leaving(run, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():  # readers find the new one under next/ until it is here
        replaced = run / _REPLACED
        remove(replaced)
        replaced.parent.mkdir(exist_ok=True)
        target.rename(replaced)
    source.replace(target)


def _leaving(run: Path) -> list[str]:
    file = run / NEXT / _LEAVING
    names = read_json(file)
    if not isinstance(names, list):
        raise BadInput(f"{file}: not a list of names.")
    for name in names:
        inside(run, name, str(file))
    return names


def _parts_under(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        whole = len(name.split("/")) == _FOLDERS.get(name.split("/")[0])
        if name not in (FILE_NAME, _LEAVING) and (whole if path.is_dir() else part_of(name) == name):
            yield name


def _forget(run: Path) -> None:
    for path in (run / NEXT, run.joinpath(*SHADOW), run / _REPLACED):
        remove(path)
    _remove_empty_folders(run / SHADOW[0], run)


def _by_part(names: list[str]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(part_of(name), []).append(name)
    return parts


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other) or sha256_of(one) == sha256_of(other)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some file systems cannot
        pass
    finally:
        os.close(descriptor)


def _remove_empty_folders(folder: Path, stop: Path) -> None:
    while folder != stop and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
