"""Change one formula at a time in a copy of the sources, and see whether the golden tests notice.

    nice python experiments/mutation/run.py [--only TEXT] [--out experiments/mutation/result.md]

The test that killed a mutant in the table that `--out` names, or else the last one of the same file, is run first.
Exit code 1 if a mutant survives or no longer fits the sources.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("clustering", "router", "xelm", "tests", "pyproject.toml")
MOST_S = 1200
LIBRARIES = (
    "_pytest.unraisableexception",
    "anyascii",
    "langcodes.language_lists",
    "language_data.names",
    "pytest",
    "scipy.cluster.hierarchy",
    "scipy.optimize",
    "scipy.sparse",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.decomposition",
    "sklearn.feature_extraction.text",
    "tabulate",
    "torch",
    "transformers.models.llama.modeling_llama",
)
"""Loaded once, before the children are forked; nothing of ours, which every child loads from its own copy."""
KILLED = "killed"


class Killer:
    """A plugin of pytest that runs given tests before the others, and reports the first that fails."""

    def __init__(self, first: Sequence[str], report: int):
        self._first, self._report = first, report

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Put the given tests in front."""
        items.sort(key=lambda item: item.name not in self._first)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Tell the parent process the name of a failed test."""
        if report.failed:
            os.write(self._report, report.nodeid.rpartition("::")[2].encode())


def tests_of(file: str) -> list[str]:
    """The golden tests of the package that a file is in."""
    found = sorted((ROOT / "tests" / "golden").glob(f"test_{file.partition('/')[0]}*_numbers.py"))
    return [path.relative_to(ROOT).as_posix() for path in found]


def failing(folder: Path, tests: Sequence[str], first: Sequence[str] = ()) -> str | None:
    """The first test that fails on the sources of a folder, `import` if they cannot be imported, None if all pass.

    The tests run in a child process, which finds the libraries loaded.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _run_tests(folder, tests, Killer(first, writing))
    os.close(writing)
    deadline = time.monotonic() + MOST_S
    with os.fdopen(reading, "rb") as names:
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                if code not in (0, 1, 2):  # 1: tests ran and failed; 2: the mutant cannot even be imported
                    raise RuntimeError(f"pytest ended with {code}")
                return None if code == 0 else names.read().decode() or "import"
            time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise RuntimeError(f"the tests took more than {MOST_S} s")


def _run_tests(folder: Path, tests: Sequence[str], killer: Killer) -> NoReturn:
    import pytest

    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests], plugins=[killer])))


def outcome(folder: Path, file: str, text: str, replacement: str, first: Sequence[str]) -> tuple[str, str]:
    """`killed` and the test that did it; or `survives`, or why it could not be tried, and nothing."""
    target = folder / file
    source = target.read_text(encoding="utf-8")
    if source.count(text) != 1:
        return f"does not fit: the text stands {source.count(text)} times in the file", ""
    target.write_text(source.replace(text, replacement), encoding="utf-8")
    try:
        killer = failing(folder, tests_of(file), first)
        return (KILLED, killer) if killer else ("survives", "")
    except RuntimeError as error:
        return f"does not run: {error}", ""
    finally:
        target.write_text(source, encoding="utf-8")


def main() -> None:
    """Try every mutant and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose file or text holds this")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for library in LIBRARIES:
        import_module(library)
    wanted = [mutant for mutant in MUTANTS if arguments.only in mutant[0] or arguments.only in mutant[1]]
    killers, last = _killers(arguments.out), dict[str, str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            skipped = shutil.ignore_patterns("__pycache__", *(["data"] if part == "tests" else []))
            shutil.copytree(source, folder / part, ignore=skipped) if source.is_dir() else shutil.copy(source, folder)
        every = sorted({tests for file, _, _ in wanted for tests in tests_of(file)})
        if failed := failing(folder, every):
            sys.exit(f"{failed} fails on the sources as they are")
        rows, started = [], time.monotonic()
        for mutant in wanted:
            file = mutant[0]
            result, killer = outcome(folder, *mutant, first=[killers.get(_start(mutant)) or last.get(file, "")])
            last[file] = killer or last.get(file, "")
            rows.append((result, f"{_start(mutant)} {result} | {killer} |"))
            print(f"{result:9}  {file}: {mutant[1].strip()!r} -> {mutant[2].strip()!r}  {killer}", flush=True)
    killed = sum(result == KILLED for result, _ in rows)
    took_s = time.monotonic() - started
    summary = f"{killed} of {len(rows)} killed in {took_s:.0f} s, {date.today()}, commit {_commit()}."
    print(summary)
    if arguments.out:
        lines = ["| file | formula | mutant | result | by |", "|---|---|---|---|---|", *(row for _, row in rows)]
        arguments.out.write_text(f"{summary}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(0 if killed == len(rows) else 1)


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _start(mutant: tuple[str, str, str]) -> str:
    """The first three cells of a mutant's row."""
    return f"| {mutant[0]} | {_cell(mutant[1])} | {_cell(mutant[2])} |"


def _killers(table: Path | None) -> dict[str, str]:
    """{first three cells: the test that killed the mutant} of an earlier table."""
    text = table.read_text(encoding="utf-8") if table and table.exists() else ""
    found = re.finditer(rf"^(\|.+\|) {KILLED} \| (.+) \|$", text, flags=re.MULTILINE)
    return {row[1]: row[2] for row in found}


def _cell(text: str) -> str:
    return "`" + text.strip().replace("\n", "⏎").replace("|", "\\|") + "`" if text.strip() else "(nothing)"


if __name__ == "__main__":
    main()
