"""Change one formula at a time in a copy of the sources, and see whether the golden tests notice.

    nice python experiments/mutation/run.py [--only TEXT] [--out experiments/mutation/result.md]

Exit code 1 if a mutant survives or no longer fits the sources.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("clustering", "router", "xelm", "tests", "pyproject.toml")
MOST_S = 1200
LIBRARIES = (
    "pytest",
    "scipy.cluster.hierarchy",
    "scipy.optimize",
    "scipy.sparse",
    "sklearn.decomposition",
    "sklearn.feature_extraction.text",
    "torch",
    "transformers.models.llama.modeling_llama",
)
"""Loaded once, before the children are forked; nothing of ours, which every child loads from its own copy."""


def tests_of(file: str) -> str:
    """The golden tests of the package that a file is in."""
    return f"tests/golden/test_{file.partition('/')[0]}_numbers.py"


def passes(folder: Path, tests: str) -> bool:
    """Whether the tests pass on the sources of a folder: in a child process, which finds the libraries loaded."""
    child = os.fork()
    if child == 0:
        _run_tests(folder, tests)
    deadline = time.monotonic() + MOST_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code not in (0, 1, 2):  # 1: tests ran and failed; 2: the mutant cannot even be imported
                raise RuntimeError(f"pytest ended with {code}")
            return code == 0
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise RuntimeError(f"the tests took more than {MOST_S} s")


def _run_tests(folder: Path, tests: str) -> NoReturn:
    import pytest

    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", tests])))


def outcome(folder: Path, file: str, text: str, replacement: str) -> str:
    """`killed`, `survives`, or why it could not be tried."""
    target = folder / file
    source = target.read_text(encoding="utf-8")
    if source.count(text) != 1:
        return f"does not fit: the text stands {source.count(text)} times in the file"
    target.write_text(source.replace(text, replacement), encoding="utf-8")
    try:
        return "survives" if passes(folder, tests_of(file)) else "killed"
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
    os.environ["OMP_NUM_THREADS"] = "1"
    for library in LIBRARIES:
        import_module(library)
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
