"""Frozen features beside a bare loop of transformers: python experiments/transfer_sib/speed.py MODEL FOLDER."""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from xelm.parts import SingleModel, TaskBase

BATCH, LONGEST, TEXTS, TURNS = 32, 256, 204, 3


def bare(model: str, texts: list[str]) -> np.ndarray:
    """Mean-pooled states, sorted by length, as anybody would write it."""
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    order = sorted(range(len(texts)), key=lambda place: -len(tokenizer(texts[place])["input_ids"]))
    found = np.empty((len(texts), network.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            given = tokenizer(
                [texts[place] for place in batch],
                padding=True,
                truncation=True,
                max_length=LONGEST,
                return_tensors="pt",
            )
            states, mask = network(**given).last_hidden_state, given["attention_mask"].unsqueeze(-1)
            found[batch] = ((states * mask).sum(1) / mask.sum(1)).numpy()
    return found


def ours(model: str, texts: list[str]) -> np.ndarray:
    """The same by xelm."""
    base = SingleModel(TaskBase(model=model, batch_size=BATCH, max_length=LONGEST, device="cpu"))
    return np.asarray(base.encoder("model").texts(texts))


def main(model: str, folder: Path) -> None:
    """Print CPU seconds of both, model loading included, and how far the vectors are apart."""
    with gzip.open(folder / "deu_Latn.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [row["text"] for row in rows if row["split"] == "test"][:TEXTS]
    for turn in range(TURNS):
        seconds = {}
        vectors = {}
        for name, function in (("bare", bare), ("xelm", ours)) if turn % 2 == 0 else (("xelm", ours), ("bare", bare)):
            begin = time.process_time()
            vectors[name] = function(model, texts)
            seconds[name] = time.process_time() - begin
        apart = float(np.abs(vectors["bare"] - vectors["xelm"]).max())
        ratio = seconds["xelm"] / seconds["bare"]
        print(f"bare {seconds['bare']:.1f} s, xelm {seconds['xelm']:.1f} s, ratio {ratio:.3f}, apart {apart:.1e}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
