"""A fresh environment, made by `pip install .` with only torch pinned, answers as the pinned one does.

`python -m experiments.versions.fresh RUN [--python PYTHON]`: makes the environment in a temporary folder (or takes that
of PYTHON), asks both the same, prints a table and ends with 1 if an answer differs. Within one environment the answers
of `lm.generate`, `as_causal_lm` and a pipeline must be the same as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def fresh_environment(folder: Path) -> Path:
    """`pip install .` and the pinned torch, nothing else; returns its Python."""
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    subprocess.run([python, "-m", "pip", "install", "--quiet", torch, str(ROOT)], check=True)
    return python


def ask(python: Path | str, run: str, scratch: Path) -> dict[str, Any]:
    """The answers of an environment; from a folder where no checkout is on the path."""
    script = Path(__file__).with_name("answers.py")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if str(python) == sys.executable:
        clean["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [python, script, run], cwd=scratch, env=clean, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(pinned: dict[str, Any], fresh: dict[str, Any]) -> tuple[list[str], bool]:
    """Lines of a table, and whether every answer is the same."""
    lines, same = ["| asked by | policy | same as pinned | same as lm.generate |", "|---|---|---|---|"], True
    for name, wanted in pinned["answers"].items():
        way, policy = name.rsplit(" ", 1)
        found, total = fresh["answers"][name], len(wanted)
        as_pinned = sum(a == b for a, b in zip(wanted, found, strict=True))
        as_run = sum(a == b for a, b in zip(fresh["answers"][f"lm.generate {policy}"], found, strict=True))
        lines.append(f"| {way} | {policy} | {as_pinned} of {total} | {as_run} of {total} |")
        same = same and as_pinned == as_run == total
    return lines, same


def main() -> None:
    """Make, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--python", help="Python of the environment to compare; a fresh one is made without it.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        python = given.python or fresh_environment(Path(scratch) / "fresh")
        run = str(Path(given.run).resolve())
        pinned, fresh = (ask(which, run, Path(scratch)) for which in (sys.executable, python))
    for name, found in (("pinned", pinned), ("fresh", fresh)):
        print(f"{name}: {', '.join(f'{library} {number}' for library, number in found['versions'].items())}")
    lines, same = compare(pinned, fresh)
    print("\n".join(lines))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
