"""Does training on pairs without labels help zero-shot transfer, and what would as many labels have done?

    python experiments/align/run.py ../models/e5-small ../shared/data WORK [--seeds 3] [--languages kab,quy,yor,wol]

Everything that is finished is kept in WORK; run again it goes on. The table is printed, and WORK/results.json has it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xelm
from xelm.parts import SingleModel, TaskBase, write_json

PIVOT, BY_TATOEBA = "eng", ("kab",)
LENGTH, EPOCHS, DRAWS = 96, 6, 2000
TEMPERATURE = 0.02
"""As the epochs chosen on Ewe, which is not among the languages that are reported."""
Rows = list[dict[str, Any]]


def read(file: Path) -> Rows:
    """Rows of a packed file."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Sib:
    """Topics of sentences, the same sentences in all languages."""

    def __init__(self, data: Path, codes: list[str]) -> None:
        self._rows = {
            code: {row["id"]: row for row in read(next((data / "sib200").glob(f"{code}_*.jsonl.gz")))} for code in codes
        }
        self.ids = {
            split: [name for name, row in self._rows[PIVOT].items() if row["split"] == split]
            for split in ("train", "valid", "test")
        }

    def texts(self, code: str, ids: list[Any]) -> list[str]:
        """The sentences of a language."""
        return [self._rows[code][name]["text"] for name in ids]

    def topics(self, ids: list[Any]) -> list[str]:
        """Their topics."""
        return [self._rows[PIVOT][name]["category"] for name in ids]


def halves(ids: list[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Training sentences for the head, and others for the pairs."""
    mixed = sorted(ids)
    random.Random(seed).shuffle(mixed)
    return mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]


def write_rows(file: Path, rows: Rows) -> None:
    """One object a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def pairs_of(code: str, sib: Sib, data: Path, half: list[Any]) -> tuple[Rows, int]:
    """Pairs to learn from, and how many were left out since SIB has one of their sentences."""
    if code not in BY_TATOEBA:
        both = zip(sib.texts(code, half), sib.texts(PIVOT, half), strict=True)
        return [{"text": text, PIVOT: other, "split": "train"} for text, other in both], 0
    every = [name for ids in sib.ids.values() for name in ids]
    known = {text.strip() for c in (code, PIVOT) for text in sib.texts(c, every)}
    rows = read(data / "tatoeba" / f"{code}.jsonl.gz")
    kept = [row for row in rows if row["text"].strip() not in known and row[PIVOT].strip() not in known]
    return [{"text": row["text"], PIVOT: row[PIVOT], "split": "train"} for row in kept], len(rows) - len(kept)


class Vectors:
    """Pooled states of one model, each text read once."""

    def __init__(self, model: Path) -> None:
        self._base = SingleModel(TaskBase(model=str(model), max_length=LENGTH, device="cpu"))
        self._known: dict[str, np.ndarray] = {}

    def of(self, texts: list[str]) -> np.ndarray:
        """Shape (texts, dimensions)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, np.asarray(self._base.encoder("model").texts(new)), strict=True))
        return np.stack([self._known[text] for text in texts])


def zero_shot(model: Vectors, code: str, sib: Sib, head: list[Any]) -> dict[str, list[int]]:
    """Which test sentences a head taught in English answers rightly: in English, in the language, and there centred."""
    test = sib.ids["test"]
    valid = sib.ids["valid"]
    taught, home, there, unlabelled = (
        model.of(texts)
        for texts in (sib.texts(PIVOT, head), sib.texts(PIVOT, test), sib.texts(code, test), sib.texts(code, valid))
    )
    wanted = np.array(sib.topics(test))

    def right(teach: np.ndarray, asked: np.ndarray) -> list[int]:
        learner = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000))
        learner.fit(teach, sib.topics(head))
        return [int(hit) for hit in learner.predict(asked) == wanted]

    centred = right(taught - taught.mean(0), there - unlabelled.mean(0))
    return {"home": right(taught, home), "target": right(taught, there), "centred": centred}


def label_control(model: Path, code: str, sib: Sib, labelled: list[Any], work: Path, seed: int) -> float:
    """Accuracy of adapters taught by as many labelled sentences of the language itself."""
    rows = [
        {"id": name, "text": text, "label": topic, "split": split}
        for split, ids in (("train", labelled), ("test", sib.ids["test"]))
        for name, text, topic in zip(ids, sib.texts(code, ids), sib.topics(ids), strict=True)
    ]
    write_rows(work / "task" / f"{code}.jsonl", rows)
    english = [{"id": -1, "text": "unused", "label": rows[0]["label"], "split": "train"}]
    write_rows(work / "task" / f"{PIVOT}.jsonl", english)
    report = xelm.transfer(
        {
            "base": {"model": str(model), "max_length": LENGTH, "device": "cpu"},
            "task": {"kind": "classification", "path": str(work / "task")},
            "sources": {"sets": ["none"]},
            "train": {"adapter": "lora", "shots": [len(labelled)], "epochs": EPOCHS, "seeds": 1},
            "evaluate": {"targets": [code], "own": False, "replicates": 200},
        },
        work / f"transfer-{seed}",
    )
    [row] = [row for row in report.table if row["shots"] == len(labelled)]
    return float(row["accuracy"])


def one(model: Path, base: Vectors, data: Path, work: Path, sib: Sib, code: str, seed: int) -> dict[str, Any]:
    """One language and seed, kept when it is done."""
    folder = work / f"{code}-{seed}"
    if (folder / "result.json").is_file():
        return dict(json.loads((folder / "result.json").read_text()))
    head, other = halves(sib.ids["train"], seed)
    if code in BY_TATOEBA:
        head = sib.ids["train"]
    pairs, overlap = pairs_of(code, sib, data, other)
    valid = zip(sib.texts(code, sib.ids["valid"]), sib.texts(PIVOT, sib.ids["valid"]), strict=True)
    held = [{"text": text, PIVOT: english, "split": "test"} for text, english in valid]
    write_rows(folder / "pairs" / f"{code}.jsonl", [*pairs, *held])
    alignment = xelm.align(
        model,
        folder / "pairs",
        train=True,
        out=folder / "aligned",
        max_length=LENGTH,
        epochs=EPOCHS,
        temperature=TEMPERATURE,
        most=len(held),
        seed=seed,
        device="cpu",
    )
    result = {
        "language": code,
        "seed": seed,
        "pairs": alignment.training["pairs"][code],
        "overlap": overlap,
        "retrieval": alignment.table,
        "before": zero_shot(base, code, sib, head),
        "after": zero_shot(Vectors(folder / "aligned"), code, sib, head),
    }
    write_json(folder / "result.json", result)
    shutil.rmtree(folder / "aligned")
    return result


def control(model: Path, work: Path, sib: Sib, found: dict[str, Any]) -> float:
    """The rival of one result, kept when it is done."""
    code, seed = found["language"], found["seed"]
    folder = work / f"{code}-{seed}"
    if not (folder / "control.json").is_file():
        _, other = halves(sib.ids["train"], seed)
        labelled = sib.ids["train"][: found["pairs"]] if code in BY_TATOEBA else other
        value = label_control(model, code, sib, labelled, folder / "control", seed)
        write_json(folder / "control.json", {"labelled": len(labelled), "accuracy": value})
    return float(json.loads((folder / "control.json").read_text())["accuracy"])


def interval(differences_SN: np.ndarray) -> list[float]:
    """Mean difference with 95 %: test sentences are drawn, the same in all languages and seeds."""
    rng = np.random.default_rng(0)
    per_sentence = differences_SN.mean(axis=0)
    draws = [per_sentence[rng.integers(len(per_sentence), size=len(per_sentence))].mean() for _ in range(DRAWS)]
    return [float(per_sentence.mean()), *np.percentile(draws, [2.5, 97.5]).tolist()]


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--languages", default="kab,quy,yor,wol")
    parser.add_argument("--controls", type=int, help="seeds that the control is trained with; all, if left out")
    asked = parser.parse_args()
    codes = asked.languages.split(",")
    sib = Sib(asked.data, [PIVOT, *codes])
    results, base = [], Vectors(asked.model)
    for seed in range(asked.seeds):
        for code in codes:
            found = one(asked.model, base, asked.data, asked.work, sib, code, seed)
            summary = {
                side: {key: float(np.mean(hits)) for key, hits in found[side].items()} for side in ("before", "after")
            }
            print(code, seed, json.dumps(summary), flush=True)
            results.append(found)
    for found in results:
        if asked.controls is None or found["seed"] < asked.controls:
            found["control"] = control(asked.model, asked.work, sib, found)
            print(found["language"], found["seed"], "control", found["control"], flush=True)
    table: dict[str, Any] = {"epochs": EPOCHS, "tested": len(sib.ids["test"]), "seeds": asked.seeds}
    for code in [*codes, "mean"]:
        mine = [found for found in results if code in (found["language"], "mean")]
        row: dict[str, Any] = {"n": len(mine)}
        if code != "mean":
            row |= {"overlap": mine[0]["overlap"], "pairs": mine[0]["pairs"]}
        for key in ("target", "centred", "home"):
            sides = [np.array([found[side][key] for found in mine], dtype=float) for side in ("before", "after")]
            row[key] = [float(side.mean()) for side in sides]
            row[f"{key}_difference"] = interval(sides[1] - sides[0])
        if controls := [found["control"] for found in mine if "control" in found]:
            row |= {"control": float(np.mean(controls)), "controls": len(controls)}
        table[code] = row
        print(code, json.dumps(row))
    write_json(asked.work / "results.json", table)


if __name__ == "__main__":
    main()
