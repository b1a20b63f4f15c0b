"""SIGKILL inside the commit of `xelm add`: whoever reads the run then finds the old state or the new one, to the byte.

    OMP_NUM_THREADS=1 python -m experiments.new_language.kill_in_commit

The commit begins where the changed parts are put under `next/` and ends where the last of them is in its place. A child
process adds a language and kills itself before the n-th call that changes the file system in between; the n are spread
over the whole commit. After each kill the run is read, which changes nothing in it: its manifest and the SHA-256 of
every file must be those of the run without the language or with it. Then it is completed, or the language removed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

import xelm
from experiments.new_language.kill_test import NEW, RECIPE, STARTER

SMALL = {
    **RECIPE,
    "base": {"new": {**RECIPE["base"]["new"], "tokens": 1_280}},
    "train": {"tokens": 1_280, "batch_size": 4},
}
_CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "link")


def main() -> None:
    """Kill, read, complete, and print how often all was right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = xelm.train(xelm.Recipe.from_dict(SMALL), out=Path(folder) / "first").path
        old, undisturbed = _state(first), Path(shutil.copytree(first, Path(folder) / "undisturbed"))
        _, num_calls = _child(undisturbed, -1)
        new = _state(undisturbed)
        click.echo(f"the commit makes {num_calls} calls that change the file system")
        right = [
            _one(first, Path(folder) / "killed", number * (num_calls - 1) // max(1, options.kills - 1), old, new)
            for number in range(options.kills)
        ]
    click.echo(f"{sum(right)} of {len(right)} reads found one whole state")
    sys.exit(0 if all(right) else 1)


def _one(first: Path, run: Path, at: int, old: dict[str, Any], new: dict[str, Any]) -> bool:
    shutil.copytree(first, run)
    died = _child(run, at)[0] == signal.SIGKILL
    before = _on_disk(run)
    state = _state(run)
    right = died and state in (old, new) and _on_disk(run) == before
    if state == old:
        right &= _child(run, -1)[0] == 0 and _state(run) == new
    else:
        xelm.remove_language(run, NEW)  # completes the change first
        right &= _state(run) == old
    click.echo(f"killed before call {at}: the run {'has the language' if state == new else 'is as before'}: {right}")
    shutil.rmtree(run)
    return right


def _child(run: Path, at: int) -> tuple[int, int]:
    """Add the language in a child process that kills itself before a call of the commit; -1: never.

    Returns:
        The signal that ended the child, 0 for none, and how many calls the commit made (0 where it was killed).
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(_add_and_die(run, at)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    told = os.read(reading, 100)
    os.close(reading)
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), int(told or 0)


def _add_and_die(run: Path, at: int) -> int:
    calls = [0]
    inside = [False]

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            inside[0] = inside[0] or str(arguments[0]) == str(run / "next")
            if inside[0]:
                if calls[0] == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                calls[0] += 1
            return real(*arguments, **options)

        return call

    for name in _CALLS:
        setattr(os, name, counted(getattr(os, name)))
    xelm.add_language(run, NEW, STARTER / f"{NEW}.jsonl", donor="base", tokens=256)
    return calls[0]


def _state(run: Path) -> dict[str, Any]:
    """What a reader finds; that every file has the checksum of the manifest is a part of it."""
    experts = xelm.ExpertSet.load(run)
    return {"manifest": experts.manifest.to_dict(), "problems": experts.verify()}


def _on_disk(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    main()
