"""The list of mutants in `experiments/mutation` fits today's sources, so that a run of it tries every one."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MUTANTS: list[tuple[str, str, str]] = runpy.run_path(str(ROOT / "experiments" / "mutation" / "mutants.py"))["MUTANTS"]


def test_every_mutant_changes_one_place_of_its_file() -> None:
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in {file for file, _, _ in MUTANTS}}
    assert [(file, text) for file, text, _ in MUTANTS if texts[file].count(text) != 1] == []
    assert all(text != replacement for _, text, replacement in MUTANTS)


def test_no_mutant_is_listed_twice() -> None:
    assert len(MUTANTS) == len(set(MUTANTS)) > 180
