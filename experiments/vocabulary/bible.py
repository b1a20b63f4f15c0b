"""Languages of four other scripts added to a Latin-script run, with pieces of their own and without.

`experiments/vocabulary/bible.py RUN DATA OUT.json`: RUN from `recipe.toml`. Each arm is `xelm add` on a copy of
the run with the same donor (the base); arms already in OUT.json are kept.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import xelm
from xelm.parts import read_json, write_json

LANGUAGES = ("amh", "chr", "ojb", "syc")
READ_BYTES = 100_000
"""Training text that the arms of equal bytes read, about: as many as whole steps of the expert with own pieces do."""
BLOCK = 256 * 4


def arms(first: dict[str, Any] | None) -> dict[str, tuple[str | None, int]]:
    """Name -> (vocabulary, budget in tokens). Tokens are what a training computes, bytes what it reads.

    Args:
        first: The arm with own pieces at equal bytes, by which the others go; None: not run yet.
    """
    few, many = first["tokens_per_byte"] if first else 0.2, 1.0  # the run's pieces are bytes in these scripts
    read, whole = (first["tokens"] / few, first["train_bytes"]) if first else (READ_BYTES, 1)
    return {
        "run's pieces, equal bytes": (None, round(read * many)),
        "own pieces, equal bytes": ("auto", round(read * few)),
        "own pieces, equal compute": ("auto", round(read * many)),
        "run's pieces, all text": (None, round(whole * many)),
        "own pieces, all text": ("auto", round(whole * few)),
    }


def add(run: Path, data: Path, code: str, vocabulary: str | None, tokens: int) -> dict[str, Any]:
    """Add the language to a copy of the run and say what came of it."""
    copy = run.parent / f"{run.name}-{code}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    before, started = xelm.ExpertSet.load(copy), time.monotonic()
    tokens = max(BLOCK, tokens)
    experts = xelm.add_language(
        copy, code, data / f"{code}.jsonl.gz", donor="base", tokens=tokens, vocabulary=vocabulary, believe_label=True
    )
    seconds = time.monotonic() - started
    line, name = experts.manifest.ledger[-1], experts.plan.cluster_of(code)
    cell = experts.result("test").models[name][code]
    record = experts.folder(name) / "vocabulary.json"
    models = ("base/", "dense/", "experts/")
    theirs = {file: digest for file, digest in before.manifest.files.items() if file.startswith(models)}
    found = {
        "bits_per_byte": cell.bits_per_byte,
        "tokens_per_byte": cell.tokens / cell.bytes,
        "tokens": line.tokens,
        "seconds": seconds,
        "others_unchanged": theirs.items() <= experts.manifest.files.items(),
        "vocabulary": read_json(record) if record.is_file() else None,
        "train_bytes": experts.manifest.data[code]["bytes"],
    }
    shutil.rmtree(copy)
    return found


def main(run: Path, data: Path, out: Path) -> None:
    """Run the arms that are not in `out` yet."""
    results: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    order = ("own pieces, equal bytes", "run's pieces, equal bytes", "own pieces, equal compute")
    for names in (order, ("run's pieces, all text", "own pieces, all text")):
        for code in LANGUAGES:
            for name in names:
                done = results.setdefault(code, {})
                vocabulary, tokens = arms(done.get(order[0]))[name]
                if name not in done:
                    done[name] = add(run, data, code, vocabulary, tokens)
                    write_json(out, results)
                    print(code, name, done[name]["bits_per_byte"], round(done[name]["seconds"]), flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
