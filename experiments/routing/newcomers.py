"""What a newcomer costs the older languages' routed loss, without the repair of `xelm add` and with it.

    python experiments/routing/newcomers.py --data ../shared/data --work runs/newcomers

Trains a run of byte-level experts of eight older languages, one each, on SIB-200 and the starter corpus, and adds each
relative to a copy of it. All figures are those that `xelm add` shows: bits per byte of test text, `top1`, causal. Run
again it goes on where it stopped. Writes newcomers.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from xelm import ExpertSet, Recipe, add_language, train
from xelm.parts import find_sources, read_json, write_json, write_text

OLDER = ("spa", "deu", "hin", "tur", "bul", "rus", "arb", "cym")
RELATIVES = {
    "por": "spa", "ita": "spa", "nld": "deu", "urd": "hin", "azj": "tur", "kaz": "tur", "slv": "bul", "srp": "bul",
    "ukr": "rus", "pes": "arb", "gla": "cym",
}  # fmt: skip
TOKENS = 100_000
RECIPE: dict[str, Any] = {
    "base": {"new": {"tokenizer": "byte", "hidden_size": 64, "num_layers": 2, "num_heads": 4, "context_length": 256,
                     "tokens": 2_000_000, "learning_rate": 4e-3}},
    "clusters": {"k": len(OLDER)},
    "train": {"tokens": 1_200_000, "batch_size": 8, "learning_rate": 1.5e-3, "dense": False},
}  # fmt: skip
OUT = Path(__file__).parent / "newcomers.json"


def corpus(data: Path, starter: Path, folder: Path) -> Path:
    """`<code>.jsonl` of every language: SIB-200's sentences and the starter corpus's documents; Slovene of progit."""
    folder.mkdir(parents=True, exist_ok=True)
    for code in (*OLDER, *RELATIVES):
        files = [
            source for place in (data / "sib200", starter) for source in find_sources(place) if source.code == code
        ]
        files += [source for source in find_sources(data / "progit") if source.code == code == "slv"]
        rows = [
            {"text": text, "split": row.split, "id": f"{number}-{row.id}"}
            for number, source in enumerate(files)
            for row in source.rows()
            for text in (row.text.split("\n") if code == "slv" else [row.text])
            if code != "slv" or len(text) > 60
        ]
        write_text(folder / f"{code}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return folder


def addition(run: Path, text: Path, code: str) -> dict[str, Any]:
    """One newcomer in a copy of the run: rises of the older languages' bits per byte, and the newcomer's own change."""
    copy = run.with_name(f"{run.name}-{code}")
    shutil.copytree(run, copy)
    line = add_language(copy, code, text, tokens=TOKENS, trial=0.0, believe_label=True).manifest.ledger[-1]
    after = {other: bits.after for other, bits in line.bits_per_byte.items()}
    before = {other: bits.before for other, bits in line.bits_per_byte.items() if bits.before}
    unrepaired = line.unrepaired or after

    def rises(values: dict[str, float]) -> dict[str, float]:
        return {other: round(100 * (values[other] / bits - 1), 3) for other, bits in before.items() if other != code}

    shutil.rmtree(copy)
    return {
        "prior": line.prior,
        "without repair": rises(unrepaired),
        "with repair": rises(after),
        "newcomer before": before[code],
        "newcomer without repair": unrepaired[code],
        "newcomer with repair": after[code],
        "donor": line.donor,
    }


def main() -> None:
    """Train, add, and write after each addition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/ and progit/")
    parser.add_argument("--work", type=Path, required=True, help="folder for corpus and runs")
    parser.add_argument("--starter", type=Path, default=Path("xelm/starter"), help="the corpus that comes with xelm")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(RELATIVES), help="newcomers")
    arguments = parser.parse_args()
    texts = arguments.work / "corpus"
    if not texts.is_dir():
        corpus(arguments.data, arguments.starter, texts)
    for seed in range(arguments.seeds):
        run = arguments.work / f"older-{seed}"
        if not (run / "xelm.json").is_file():
            sections = {**RECIPE, "train": RECIPE["train"] | {"seed": seed}}
            sections["data"] = {"path": str(texts), "languages": list(OLDER)}
            train(Recipe.from_dict(sections), run)
        sizes = {code: len(ExpertSet.load(run).heldout("test", [code])) for code in OLDER}
        for code in arguments.only:
            found = read_json(OUT) if OUT.is_file() else {"test documents": sizes, "additions": {}}
            if f"{code}, seed {seed}" in found["additions"]:
                continue
            row = addition(run, texts / f"{code}.jsonl", code)
            found["additions"][f"{code}, seed {seed}"] = row
            write_json(OUT, found)
            relative = RELATIVES.get(code, OLDER[0])
            print(
                code, relative, row["prior"], row["without repair"][relative], row["with repair"][relative], flush=True
            )


if __name__ == "__main__":
    main()
