"""Texts for the routing experiments: parts of the shared data, cut as users' texts are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np


def read(data: Path, corpus: str, split: str) -> dict[str, list[str]]:
    """ISO 639-3 code -> texts of one split, for every file of a corpus."""
    texts = {}
    for file in sorted((data / corpus).glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            rows = [row["text"] for row in map(json.loads, lines) if row["split"] == split]
        texts[file.name.split(".")[0].split("_")[0]] = rows
    return texts


def cut(texts: dict[str, list[str]], num_characters: int) -> dict[str, list[str]]:
    """The first so many characters of each text that has them."""
    return {code: [t[:num_characters] for t in rows if len(t) >= num_characters] for code, rows in texts.items()}


def lines(texts: dict[str, list[str]], least: int, limit: int, seed: int = 0) -> dict[str, list[str]]:
    """At most `limit` lines of at least `least` characters for each language, drawn at random."""
    generator = np.random.default_rng(seed)
    drawn = {}
    for code, documents in texts.items():
        long = [line for document in documents for line in document.split("\n") if len(line) >= least]
        drawn[code] = [long[i] for i in sorted(generator.permutation(len(long))[:limit])]
    return drawn


def flat(texts: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """All texts in a row, and the language of each."""
    return [t for rows in texts.values() for t in rows], [code for code, rows in texts.items() for _ in rows]


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, num_bins: int = 10) -> float:
    """Mean gap between confidence and share of right answers over ten equal bins, weighted by their texts."""
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = [
        (bins == b).mean() * abs(confidence[bins == b].mean() - right[bins == b].mean())
        for b in range(num_bins)
        if (bins == b).any()
    ]
    return float(sum(gaps))
