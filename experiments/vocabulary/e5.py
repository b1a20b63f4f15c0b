"""multilingual-e5-small with the pieces of four languages, chosen on SIB-200's train text.

`experiments/vocabulary/e5.py MODEL SIB200 OUT.json deu,nld,rus,tur`: size, the share of test sentences tokenised as
before, and the accuracy of a topic head that was trained on the whole model and then reads the pruned one. The head
learns each train sentence in one of the languages. Of the test sentences, the pruned model reads those that are
tokenised otherwise and as many of the others, whose vectors must be those of the whole model.
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
    order, found = np.argsort([len(text) for text in texts], kind="stable"), []
    for start in range(0, len(texts), _BATCH):
        chosen = [f"query: {texts[place]}" for place in order[start : start + _BATCH]]
        batch = tokenizer(chosen, return_tensors="pt", padding=True)
        with torch.no_grad():
            states = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        means = (states * mask).sum(dim=1) / mask.sum(dim=1)
        found.append(torch.nn.functional.normalize(means, dim=-1).numpy())
    return np.concatenate(found)[np.argsort(order)]


def changed(model: Path, small: Path, texts: list[str]) -> np.ndarray:
    """Which texts the pruned tokenizer cuts otherwise, (texts,)."""
    from transformers import AutoTokenizer

    whole, pruned = (AutoTokenizer.from_pretrained(folder) for folder in (model, small))
    rows = [(whole.tokenize(f"query: {text}"), pruned.tokenize(f"query: {text}")) for text in texts]
    return np.array([before != after for before, after in rows])


def main(model: Path, sib: Path, out: Path, codes: list[str]) -> None:
    """Prune, compare, write."""
    from sklearn.linear_model import LogisticRegression

    rows = rows_of(sib, codes)
    each = len(codes)
    by_language = [[row for row in rows if row["lang"].startswith(code) and row["split"] == "train"] for code in codes]
    train = [by_language[number % each][number] for number in range(len(by_language[0]))]
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
        before, others = vectors(model, texts), changed(model, small, texts)
        same = np.flatnonzero(~others)[:: max(1, (~others).sum() // max(1, others.sum()))]
        read = np.union1d(np.flatnonzero(others), same)
        after = before.copy()
        after[read] = vectors(small, [texts[place] for place in read])
        result: dict[str, Any] = {
            **pruned.to_dict(),
            "folder": "",
            "parameters_kept": pruned.parameters / pruned.parameters_before,
            "accuracy_whole": float(head.score(before, truth)),
            "accuracy_pruned": float(head.score(after, truth)),
            "largest_difference_of_unchanged": float(np.abs(after[same] - before[same]).max()),
            "unchanged_compared": len(same),
            "train_sentences": len(train),
            "test_sentences": len(test),
        }
    found = json.loads(out.read_text()) if out.is_file() else {}
    write_json(out, found | {",".join(codes): result})
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4].split(","))
