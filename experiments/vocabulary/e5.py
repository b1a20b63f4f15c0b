"""multilingual-e5-small with the pieces of four languages, chosen on SIB-200's train text.

`experiments/vocabulary/e5.py MODEL SIB200 OUT.json deu,nld,rus,tur`: size, the share of test sentences tokenised as
before, and the accuracy of a topic head that was trained on the whole model and then reads the pruned one.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import xelm
from xelm.parts import write_json

_BATCH = 16


def rows_of(sib: Path, codes: list[str]) -> list[dict[str, str]]:
    """All rows of the languages."""
    files = [next(sib.glob(f"{code}_*.jsonl.gz")) for code in codes]
    return [json.loads(line) for file in files for line in gzip.open(file, "rt", encoding="utf-8")]


def vectors(folder: Path, texts: list[str]) -> np.ndarray:
    """Mean hidden states, unit length, (texts, 384)."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    for start in range(0, len(texts), _BATCH):
        batch = tokenizer([f"query: {t}" for t in texts[start : start + _BATCH]], return_tensors="pt", padding=True)
        with torch.no_grad():
            states = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        means = (states * mask).sum(dim=1) / mask.sum(dim=1)
        found.append(torch.nn.functional.normalize(means, dim=-1).numpy())
    return np.concatenate(found)


def main(model: Path, sib: Path, out: Path, codes: list[str]) -> None:
    """Prune, compare, write."""
    from sklearn.linear_model import LogisticRegression

    rows = rows_of(sib, codes)
    train = [row for row in rows if row["split"] == "train"]
    test = [row for row in rows if row["split"] == "test"]
    with tempfile.TemporaryDirectory() as scratch:
        corpus, small = Path(scratch) / "corpus", Path(scratch) / "small"
        corpus.mkdir()
        for code in codes:
            kept = [row for row in rows if row["lang"].startswith(code)]
            text = "".join(json.dumps({"text": row["text"], "split": row["split"]}) + "\n" for row in kept)
            (corpus / f"{code}.jsonl").write_text(text, encoding="utf-8")
        pruned = xelm.prune(model, codes, small, corpus)
        head = LogisticRegression(C=100, max_iter=1000)
        head.fit(vectors(model, [row["text"] for row in train]), [row["category"] for row in train])
        truth = [row["category"] for row in test]
        texts = [row["text"] for row in test]
        result: dict[str, Any] = {
            **pruned.to_dict(),
            "folder": "",
            "parameters_kept": pruned.parameters / pruned.parameters_before,
            "accuracy_whole": float(head.score(vectors(model, texts), truth)),
            "accuracy_pruned": float(head.score(vectors(small, texts), truth)),
            "test_sentences": len(test),
        }
    found = json.loads(out.read_text()) if out.is_file() else {}
    write_json(out, found | {",".join(codes): result})
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4].split(","))
