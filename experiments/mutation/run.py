"""Change one formula at a time in a copy of the sources, and see whether the golden tests notice.

    nice python -m experiments.mutation.run [--only TEXT] [--out experiments/mutation/result.md]

Exit code 1 if a mutant survives or no longer fits the sources.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.mutation.mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("clustering", "router", "xelm", "tests", "pyproject.toml")
MOST_S = 300


def tests_of(file: str) -> str:
    """The golden tests of the package that a file is in."""
    return f"tests/golden/test_{file.partition('/')[0]}_numbers.py"


def passes(folder: Path, tests: str) -> bool:
    """Whether the tests pass on the sources of a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", tests]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, timeout=MOST_S, check=False, text=True
    )
    if done.returncode not in (0, 1):  # 1: tests ran and failed
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return done.returncode == 0


def outcome(folder: Path, file: str, text: str, replacement: str) -> str:
    """`killed`, `survives`, or why it could not be tried."""
    target = folder / file
    source = target.read_text(encoding="utf-8")
    if source.count(text) != 1:
        return f"does not fit: the text stands {source.count(text)} times in the file"
    target.write_text(source.replace(text, replacement), encoding="utf-8")
    try:
        return "survives" if passes(folder, tests_of(file)) else "killed"
    except subprocess.TimeoutExpired:
        return "killed"  # an endless loop is noticed too
    except RuntimeError as error:
        return f"does not run: {error}"
    finally:
        target.write_text(source, encoding="utf-8")


def main() -> None:
    """Try every mutant and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose file or text holds this")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    wanted = [mutant for mutant in MUTANTS if arguments.only in mutant[0] or arguments.only in mutant[1]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            skipped = shutil.ignore_patterns("__pycache__", "data")
            shutil.copytree(source, folder / part, ignore=skipped) if source.is_dir() else shutil.copy(source, folder)
        for tests in sorted({tests_of(file) for file, _, _ in wanted}):
            if not passes(folder, tests):
                sys.exit(f"{tests} fails on the sources as they are")
        rows, started = [], time.monotonic()
        for file, text, replacement in wanted:
            rows.append((file, text, replacement, outcome(folder, file, text, replacement)))
            print(f"{rows[-1][3]:9}  {file}: {text.strip()!r} -> {replacement.strip()!r}", flush=True)
    killed = sum(row[3] == "killed" for row in rows)
    print(f"{killed} of {len(rows)} killed in {time.monotonic() - started:.0f} s")
    if arguments.out:
        lines = ["| file | formula | mutant | result |", "|---|---|---|---|"]
        cells = [[_cell(part) for part in row[1:3]] for row in rows]
        lines += [f"| {r[0]} | {c[0]} | {c[1]} | {r[3]} |" for r, c in zip(rows, cells, strict=True)]
        arguments.out.write_text(f"{killed} of {len(rows)} killed.\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(0 if killed == len(rows) else 1)


def _cell(text: str) -> str:
    return "`" + text.strip().replace("\n", "⏎").replace("|", "\\|") + "`" if text.strip() else "(nothing)"


if __name__ == "__main__":
    main()
