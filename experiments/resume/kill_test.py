"""Kill a small multi-expert run at random moments, repeat the command, compare with the undisturbed run to the bit.

    python experiments/resume/kill_test.py [--runs 20] [--seed 0] [--kind full|lora] [--keep DIR]

Each of the runs begins anew, is killed with SIGKILL once, and is then brought to its end by the same command. Half of
the kills come at a moment drawn evenly over the undisturbed run's time, half at the very moment that a file or folder
is being written, drawn over all the writes of a run, so that checkpoints and the manifest are hit too. Everything in
the run directory is compared but `logs/`, which tells what happened, and the cache's stamps of files. Exit code 1 if
any run ends otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LANGUAGES = ("deu", "nld", "rus", "ukr")
_PARTIAL = ".partial-"
_POLL_S = 0.0005


@dataclass(frozen=True)
class Outcome:
    """One killed run."""

    aim: str
    """What the kill was aimed at."""
    hit: str
    """What the run was doing, by the files it left."""
    problems: list[str]
    """Files that differ from the undisturbed run's; empty is what we want."""


def main() -> int:
    """Run the test and print one line a run, then N of N."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("full", "lora", "last_n_layers"), default="full")
    parser.add_argument("--keep", type=Path, help="Keep the run directories there.")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        command = _command(_prepare(folder), arguments.kind)
        seconds, writes = _undisturbed(command, folder / "undisturbed")
        expected = _digests(folder / "undisturbed")
        print(f"undisturbed: {seconds:.1f} s, {writes} writes, {len(expected)} files", flush=True)
        right = 0
        for number in range(1, arguments.runs + 1):
            if number % 2:
                outcome = _killed_at_time(command, folder / f"run-{number}", rng.uniform(0, seconds), expected)
            else:
                outcome = _killed_at_write(command, folder / f"run-{number}", rng.randint(1, writes), expected)
            right += not outcome.problems
            verdict = "equal" if not outcome.problems else f"DIFFERS: {', '.join(outcome.problems[:5])}"
            print(f"run {number:2}: {outcome.aim:18} {outcome.hit:44} {verdict}", flush=True)
    print(f"{right} of {arguments.runs} runs ended with the undisturbed run's files, to the bit")
    return 0 if right == arguments.runs else 1


def _prepare(folder: Path) -> Path:
    starter = HERE.parents[1] / "xelm" / "starter"
    (folder / "corpus").mkdir(parents=True)
    for code in LANGUAGES:
        shutil.copyfile(starter / f"{code}.jsonl", folder / "corpus" / f"{code}.jsonl")
    return Path(shutil.copyfile(HERE / "recipe.toml", folder / "recipe.toml"))


def _command(recipe: Path, kind: str) -> Callable[[Path], list[str]]:
    start = [sys.executable, "-m", "xelm", "--quiet", "train", str(recipe), "--set", f"expert.kind={kind}", "--out"]
    return lambda run: [*start, str(run)]


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    # A group of its own, so that the kill reaches whatever it has started.
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )


def _finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, process.args))}: exit code {process.returncode}\n{errors.decode()}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _undisturbed(command: Callable[[Path], list[str]], run: Path) -> tuple[float, int]:
    """Train without a kill; its seconds, and how many writes were seen."""
    started_at, seen = time.monotonic(), set[str]()
    process = _start(command(run))
    while process.poll() is None:
        seen |= _being_written(run)
        time.sleep(_POLL_S)
    _finish(process)
    return time.monotonic() - started_at, len(seen)


def _killed_at_time(
    command: Callable[[Path], list[str]], run: Path, seconds: float, expected: dict[str, str]
) -> Outcome:
    process = _start(command(run))
    time.sleep(seconds)
    _kill(process)
    return _repeated(command, run, f"after {seconds:.1f} s", expected)


def _killed_at_write(command: Callable[[Path], list[str]], run: Path, number: int, expected: dict[str, str]) -> Outcome:
    process, seen = _start(command(run)), set[str]()
    while len(seen) < number and process.poll() is None:
        seen |= _being_written(run)
        time.sleep(_POLL_S)
    if process.poll() is not None:  # some short writes went unseen this time
        shutil.rmtree(run)
        return _killed_at_write(command, run, max(1, number - 5), expected)
    _kill(process)
    return _repeated(command, run, f"in write {number}", expected)


def _repeated(command: Callable[[Path], list[str]], run: Path, aim: str, expected: dict[str, str]) -> Outcome:
    hit = _situation(run)
    _finish(_start(command(run)))
    found = _digests(run)
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    return Outcome(aim, hit, wrong)


def _being_written(run: Path) -> set[str]:
    """Half-written files and folders (they are renamed when whole)."""
    found: set[str] = set()
    folders = [str(run)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith(_PARTIAL):
                        found.add(entry.path)
                    elif entry.is_dir() and entry.name != "logs":
                        folders.append(entry.path)
        except OSError:  # it was renamed, or is not there yet
            continue
    return found


def _situation(run: Path) -> str:
    """What a killed run was doing."""
    partial = sorted(Path(path).relative_to(run).as_posix() for path in _being_written(run))
    if partial:
        # `.partial-NAME-random`, in the folder where NAME will appear.
        return "writing " + re.sub(rf"{re.escape(_PARTIAL)}([^/]+)-[^-/]+$", r"\1", partial[0])
    if (run / "router").is_dir():
        return "evaluating and finishing"
    stages = sorted((run / "work").glob("*/step-*"))
    if stages:
        return f"training {stages[-1].parent.name.rsplit('-', 1)[0]}, {stages[-1].name} kept"
    return "between models" if (run / "base").is_dir() else "preparing, or before the first checkpoint"


def _digests(run: Path) -> dict[str, str]:
    files = (p for p in run.rglob("*") if p.is_file())
    names = {p.relative_to(run).as_posix(): p for p in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in sorted(names.items())
        if not name.startswith("logs/")
        and path.name not in ("checksums.json", "text-hashes.json")  # which hold times of files
    }


if __name__ == "__main__":
    sys.exit(main())
