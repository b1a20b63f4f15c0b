"""Languages of other scripts added to a run, with pieces of their own and without.

    python experiments/vocabulary/bible.py RUN ../shared/data/bible OUT.json
    python experiments/vocabulary/bible.py RUN ../shared/data/bible OUT.json --languages guj,amh --arms own-bytes,...

RUN is from `recipe.toml` or `smollm2.toml`. Each arm is `xelm add` on a copy of it with the same donor (the base); arms
already in OUT.json are kept.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import time
from pathlib import Path
from typing import Any

import xelm
from xelm.parts import read_json, write_json

ARMS = {
    "own-bytes": "own pieces, equal bytes",
    "run-bytes": "run's pieces, equal bytes",
    "own-compute": "own pieces, equal compute",
    "run-all": "run's pieces, all text",
    "own-all": "own pieces, all text",
}
BLOCK = 256 * 4
SAMPLE_ROWS = 8


def arms(
    first: dict[str, Any] | None, run_rate: float, read_bytes: int, own: int | str
) -> dict[str, tuple[int | str | None, int]]:
    """Name -> (vocabulary, budget in tokens). What a token computes goes by the parameters, the head's rows among them.

    Args:
        first: The arm with own pieces at equal bytes, by which the others go; None: not run yet.
        run_rate: Tokens a byte with the run's pieces.
        read_bytes: Training text of the arms of equal bytes, about: as many as whole steps of that arm read.
        own: Number of own pieces, or `auto`.
    """
    own_rate = first["tokens_per_byte"] if first else 0.2
    read, whole = (first["tokens"] / own_rate, first["train_bytes"]) if first else (read_bytes, 1)
    cost = first["parameters"] / first["base_parameters"] if first else 1.0
    return {
        "own pieces, equal bytes": (own, round(read * own_rate)),
        "run's pieces, equal bytes": (None, round(read * run_rate)),
        "own pieces, equal compute": (own, round(read * run_rate / cost)),
        "run's pieces, all text": (None, round(whole * run_rate)),
        "own pieces, all text": (own, round(whole * own_rate)),
    }


def rate_of(run: Path, text: Path) -> float:
    """Tokens a byte of the first rows, with the run's pieces."""
    tokenizer = xelm.ExpertSet.load(run).tokenizer()
    with gzip.open(text, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(SAMPLE_ROWS), strict=False)]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return sum(map(len, ids)) / sum(len(text.encode()) for text in texts)


def add(run: Path, data: Path, code: str, vocabulary: int | str | None, tokens: int) -> dict[str, Any]:
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
        "parameters": experts.load_model(name).num_parameters(),
        "base_parameters": experts.load_model("base").num_parameters(),
        "seconds": seconds,
        "others_unchanged": theirs.items() <= experts.manifest.files.items(),
        "vocabulary": read_json(record) if record.is_file() else None,
        "train_bytes": experts.manifest.data[code]["bytes"],
    }
    shutil.rmtree(copy)
    return found


def main() -> None:
    """Run the arms that are not in OUT.json yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="A finished run; it is copied.")
    parser.add_argument("data", type=Path, help="Folder of <code>.jsonl.gz.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--languages", default="amh,chr,ojb,syc")
    parser.add_argument("--bytes", type=int, default=100_000)
    parser.add_argument("--pieces", default="auto", help="own pieces: their number, or auto")
    parser.add_argument("--arms", default=",".join(ARMS), help="own-bytes is always the first.")
    asked = parser.parse_args()
    results: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    own = int(asked.pieces) if asked.pieces.isdecimal() else asked.pieces
    names = [ARMS[key] for key in asked.arms.split(",")]
    for part in ([name for name in names if "all" not in name], [name for name in names if "all" in name]):
        for code in asked.languages.split(","):
            rate = rate_of(asked.run, asked.data / f"{code}.jsonl.gz")
            for name in part:
                done = results.setdefault(code, {})
                vocabulary, tokens = arms(done.get(ARMS["own-bytes"]), rate, asked.bytes, own)[name]
                if name not in done:
                    done[name] = add(asked.run, asked.data, code, vocabulary, tokens)
                    write_json(asked.out, results)
                    print(code, name, done[name]["bits_per_byte"], round(done[name]["seconds"]), flush=True)


if __name__ == "__main__":
    main()
