"""SIGKILL at random moments during `xelm add`: afterwards the run has the language whole or not at all.

    OMP_NUM_THREADS=1 python -m experiments.new_language.kill_test

Trains a tiny run of three starter-corpus languages, then kills one addition after another. Each time the run must
verify, hold the language with its expert or be what it was to the byte, and take the same addition again.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

import xelm
from xelm.parts import kept_files, sha256_of

STARTER = Path(xelm.__file__).parent / "starter"
RECIPE = {
    "base": {
        "new": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "context_length": 64, "tokens": 20_000},
    },
    "data": {"path": str(STARTER), "languages": ["spa", "deu", "rus"], "heldout_bytes": 2_000},
    "clusters": {"k": 2},
    "train": {"tokens": 20_000, "batch_size": 4, "checkpoint_every_steps": 5},
}


def main() -> None:
    """Kill, check, and print how often the run was right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    parser.add_argument("--language", default="por", help="The new language, one of the starter corpus.")
    parser.add_argument("--vocabulary", help="As for xelm add.")
    options = parser.parse_args()
    new = options.language
    more = ["--vocabulary", options.vocabulary] if options.vocabulary else []
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        first = xelm.train(xelm.Recipe.from_dict(RECIPE), out=Path(folder) / "first").path
        undisturbed = Path(shutil.copytree(first, Path(folder) / "undisturbed"))
        working_s, _ = _add(undisturbed, new, lambda: False, more)
        there = xelm.ExpertSet.load(undisturbed)
        own = there.vocabulary(there.plan.cluster_of(new)) is not None
        click.echo(
            f"an addition works for {working_s:.1f} s once it has begun{', with pieces of its own' if own else ''}"
        )
        whole: list[bool] = []
        while len(whole) < options.kills:
            runs = first, undisturbed, Path(folder)
            hit, right, took_s = _one(*runs, new, rng.uniform(0, working_s), more)
            whole += [right] if hit else []
            # A machine that has become faster finishes before the moment comes: such a try does not count.
            working_s = working_s if hit else took_s
    click.echo(f"{sum(whole)} of {len(whole)} whole")
    sys.exit(0 if all(whole) else 1)


def _one(
    first: Path, undisturbed: Path, folder: Path, new: str, moment_s: float, more: list[str]
) -> tuple[bool, bool, float]:
    """Kill one addition `moment_s` after it began: whether it was still alive then, whether the run is whole and
    completes, and the seconds the addition worked."""
    run = Path(shutil.copytree(first, folder / "killed"))
    started_s: list[float] = []

    def due() -> bool:
        started_s[:] = started_s or [time.monotonic()]
        return time.monotonic() - started_s[0] > moment_s

    took_s, hit = _add(run, new, due, more)
    there = sorted(p.name for p in (run / "work").glob("*")) if (run / "work").is_dir() else []
    experts = xelm.ExpertSet.load(run)
    has_it = new in experts.languages
    right = experts.verify() == [] and _kept(run) == _kept(undisturbed if has_it else first)
    if not has_it:
        _add(run, new, lambda: False, more)
        right &= _kept(run) == _kept(undisturbed)
    state = "has the language" if has_it else "is as before"
    how = "killed" if hit else "had ended, to be killed"
    click.echo(f"{how} after {moment_s:.2f} s (at work: {', '.join(there) or 'nothing'}): the run {state}: {right}")
    shutil.rmtree(run)
    return hit, right, took_s


def _add(run: Path, new: str, due: Callable[[], bool], more: list[str]) -> tuple[float, bool]:
    """`xelm add` in a process of its own, killed when `due` says so; the seconds from its first sign of work on, and
    whether it was killed."""
    command = [sys.executable, "-m", "xelm", "add", new, "--data", str(STARTER / f"{new}.jsonl"), "--run", str(run)]
    command += more
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((run / "cache").glob(f"*{new}-*")):
        time.sleep(0.01)
    began_s = time.monotonic()
    while process.poll() is None:
        if due():
            process.send_signal(signal.SIGKILL)
        time.sleep(0.005)
    return time.monotonic() - began_s, process.returncode == -signal.SIGKILL


def _kept(run: Path) -> dict[str, str]:
    return {name: sha256_of(run / name) for name in (*kept_files(run), "xelm.json")}


if __name__ == "__main__":
    main()
