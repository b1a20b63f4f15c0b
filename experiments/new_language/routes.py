"""All new languages added to one run with `add_language`: who is routed right, before and after; then all removed.

    python -m experiments.new_language.routes --run runs/bible --data ../shared/data/bible

Works on a copy of the run. Run again after an interruption it continues.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from experiments.new_language.run import NEW_LANGUAGES
from xelm import ExpertSet, add_language, remove_language
from xelm.parts import kept_files, package_versions, sha256_of, write_json

HERE = Path(__file__).parent


def main() -> None:
    """Grow the copy, write `routes.json`, shrink it again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="A finished run without the new languages.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of <code>.jsonl.gz.")
    parser.add_argument("--languages", nargs="+", default=list(NEW_LANGUAGES))
    parser.add_argument("--tokens", type=int, default=300_000, help="Of each new expert.")
    parser.add_argument("--work", type=Path, default=Path("runs/new_language"), help="Folder of the copy.")
    parser.add_argument("--out", type=Path, default=HERE / "routes.json")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    grown = options.work / "grown"
    if not grown.exists():
        shutil.copytree(options.run, grown)
    for code in options.languages:
        if code not in ExpertSet.load(grown).languages:
            add_language(grown, code, options.data / f"{code}.jsonl.gz", tokens=options.tokens)
            click.echo(f"{code} added")
    result = summary(ExpertSet.load(grown), options)
    result["removed"] = _remove_all(grown, options)
    write_json(options.out, result)
    click.echo(f"{result['verdict']}\nresults: {options.out}")


def summary(experts: ExpertSet, options: argparse.Namespace) -> dict[str, Any]:
    """Shares of held-out sentences (50 characters and more) read as their own language, and what was kept."""
    ledger = experts.manifest.ledger
    new = [line.language for line in ledger]
    first, last = ledger[0].routes, ledger[-1].routes
    assert first and last  # every addition is measured
    right = {
        code: {"before": None if code in new else first.right[code].before, "after": cell.after}
        for code, cell in last.right.items()
    }
    old = [cell for code, cell in right.items() if code not in new]
    drop = 100 * sum(cell["before"] - cell["after"] for cell in old) / len(old)
    worst_drop = 100 * max(cell["before"] - cell["after"] for cell in old)
    least = min(right[code]["after"] for code in new)
    original = ExpertSet.load(options.run)
    same = all(
        _models(experts.path, original.folder(name).relative_to(original.path)) == _models(original.path, folder)
        for name in original.models
        for folder in [original.folder(name).relative_to(original.path)]
    )
    return {
        "tokens": options.tokens,
        "packages": package_versions(),
        "right": right,
        "confusion": last.after.confusion,
        "bits_per_byte": {line.language: asdict(line.bits_per_byte[line.language]) for line in ledger},
        "verdict": (
            f"old languages: {drop:.2f} points fewer sentences read right on average, at most {worst_drop:.2f} in one "
            f"language; new languages: at least {100 * least:.1f} %; models of the run byte-identical: {same}; "
            f"xelm verify: {len(experts.verify())} problems"
        ),
    }


def _remove_all(grown: Path, options: argparse.Namespace) -> dict[str, Any]:
    languages = list(options.languages)
    random.Random(0).shuffle(languages)
    for code in languages:
        remove_language(grown, code)
    return {"order": languages, "as_before": _models(grown, Path()) == _models(options.run, Path())}


def _models(run: Path, folder: Path) -> dict[str, str]:
    return {name: sha256_of(run / name) for name in kept_files(run) if Path(name).is_relative_to(folder)}


if __name__ == "__main__":
    main()
