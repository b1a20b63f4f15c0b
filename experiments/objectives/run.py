"""Do masked models that read translations together (`tlm`) find translations better than those that read text alone?

    python experiments/objectives/run.py ../shared/data/tatoeba WORK [--seeds 3] [--tokens 1200000]

Three arms train the same small model from the same random weights on the same sentences, for as many tokens: `masked`;
`tlm`, which also reads the pairs; and its control, `tlm` on pairs whose translations were shuffled. Translations of
held-out sentences are then looked for. Finished arms are kept in WORK; the table is printed and kept in results.json.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import xelm
from xelm.parts import NewBase, new_tokenizer, write_json

PIVOT, LANGUAGES = "eng", ("deu", "nld", "fra", "spa", "por")
ARMS = ("masked", "tlm", "shuffled")
HELD, LENGTH, DRAWS = 0.2, 128, 2000
Rows = list[dict[str, str]]


def read_pairs(data: Path) -> dict[str, Rows]:
    """Pairs of each language, a fifth of the English sentences held out: the same ones in all languages."""
    found = {}
    for code in LANGUAGES:
        with gzip.open(data / f"{code}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        share = [int(hashlib.sha256(row[PIVOT].encode()).hexdigest()[:8], 16) / 2**32 for row in rows]
        found[code] = [
            {"text": row["text"], PIVOT: row[PIVOT], "split": "test" if part < HELD else "train"}
            for row, part in zip(rows, share, strict=True)
        ]
    return found


def write_rows(file: Path, rows: list[Any]) -> None:
    """One object a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def prepare(work: Path, pairs: dict[str, Rows], seed: int) -> None:
    """Text of both sides, pairs in their order and shuffled, and a model with weights at random."""
    english = set()
    for code, rows in pairs.items():
        train = [row for row in rows if row["split"] == "train"]
        english |= {row[PIVOT] for row in train}
        write_rows(work / "text" / f"{code}.jsonl", [{"text": row["text"]} for row in train])
        write_rows(work / "pairs" / f"{code}.jsonl", rows)
        others = [row[PIVOT] for row in train]
        random.Random(seed).shuffle(others)
        mixed = [{**row, PIVOT: other} for row, other in zip(train, others, strict=True)]
        write_rows(work / "shuffled" / f"{code}.jsonl", mixed + [row for row in rows if row["split"] == "test"])
    write_rows(work / "text" / f"{PIVOT}.jsonl", [{"text": text} for text in sorted(english)])
    if not (work / "model").is_dir():
        make_model(work / "model", work / "text", seed)


def make_model(folder: Path, text: Path, seed: int) -> None:
    """An XLM-R of two layers over 4,000 pieces."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    settings = NewBase(tokenizer="bpe", vocab_size=4000, context_length=LENGTH)
    lines = (json.loads(line)["text"] for file in sorted(text.iterdir()) for line in file.open(encoding="utf-8"))
    tokenizer = new_tokenizer(settings, lines)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH + 2,
        **ids,
    )
    XLMRobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def one(work: Path, arm: str, seed: int, tokens: int) -> dict[str, dict[str, float]]:
    """Retrieval of one arm and seed, kept when it is done: language -> way of comparing -> accuracy both ways."""
    file = work / f"{arm}.json"
    if not file.is_file():
        recipe: dict[str, Any] = {
            "base": {"model": str(work / "model")},
            "data": {"path": str(work / "text")},
            "clusters": {"k": 1},
            "train": {
                "tokens": tokens,
                "objective": "masked" if arm == "masked" else "tlm",
                "mask_rates": [0.15],
                "sequence_length": LENGTH,
                "batch_size": 16,
                "learning_rate": 2e-3,
                "dense": False,
                "seed": seed,
            },
        }
        if arm != "masked":
            recipe["data"]["pairs"] = str(work / ("pairs" if arm == "tlm" else "shuffled"))
        experts = xelm.train(xelm.Recipe.from_dict(recipe), work / f"run-{arm}", report=False)
        [name] = experts.names
        found = xelm.align(experts.path, work / "pairs", expert=name, max_length=LENGTH, device="cpu")
        table = {row["language"]: row for row in found.table if row["model"] == name}
        values = {code: {way: _both(row, way) for way in ("raw", "centred")} for code, row in table.items()}
        tested = {code: int(row["tested"]) for code, row in table.items()}
        write_json(file, {"values": values, "tested": tested})
        shutil.rmtree(work / f"run-{arm}")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _both(row: dict[str, Any], way: str) -> float:
    return float(row[f"{way}_to"] + row[f"{way}_from"]) / 2


def interval(values: list[float]) -> list[float]:
    """Mean, and 95 % from drawing languages and seeds again."""
    rng, array = np.random.default_rng(0), np.array(values)
    draws = [array[rng.integers(len(array), size=len(array))].mean() for _ in range(DRAWS)]
    return [float(array.mean()), *np.percentile(draws, [2.5, 97.5]).tolist()]


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=1_200_000)
    asked = parser.parse_args()
    pairs, found = read_pairs(asked.data), {}
    for seed in range(asked.seeds):
        folder = asked.work / f"{asked.tokens}-{seed}"
        prepare(folder, pairs, seed)
        for arm in ARMS:
            found[arm, seed] = one(folder, arm, seed, asked.tokens)
            print(arm, seed, json.dumps(found[arm, seed]["values"]["mean"]), flush=True)
    table: dict[str, Any] = {"tokens": asked.tokens, "seeds": asked.seeds, "tested": found["tlm", 0]["tested"]}
    for way in ("raw", "centred"):
        cells = {
            arm: [found[arm, seed]["values"][code][way] for seed in range(asked.seeds) for code in LANGUAGES]
            for arm in ARMS
        }
        table[way] = {arm: interval(values) for arm, values in cells.items()}
        for arm, values in cells.items():
            if arm != "tlm":
                gained = [mine - theirs for mine, theirs in zip(cells["tlm"], values, strict=True)]
                table[way][f"tlm - {arm}"] = interval(gained)
    write_json(asked.work / "results.json", table)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
