"""Mixtures byte by byte over the experts of a run that read different pieces: sums, bounds, and time.

`python -m experiments.vocabulary.bytes RUN OUT.json`: on 200 beginnings of the run's own test text, in all its
languages, the probabilities of the next byte are added up, and each text's cost is compared with every expert's. Then
the seconds a byte are measured, models in memory, of scoring and of one more byte, which is what generation would take.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import xelm
from xelm.parts import write_json

CONTEXTS, LONGEST = 200, 60
LENGTHS = (100, 400)


def contexts(experts: xelm.ExpertSet, longest: int, number: int) -> list[str]:
    """Beginnings of test documents, the languages by turns."""
    rng, documents = np.random.default_rng(0), {code: experts.heldout("test", [code]) for code in experts.languages}
    found: list[str] = []
    while len(found) < number:
        own = documents[experts.languages[len(found) % len(documents)]]
        text = own[rng.integers(len(own))].text.strip()
        found.append(text[: rng.integers(1, longest)])
    return found


def bounds(lm: Any, texts: list[str]) -> dict[str, float]:
    """How far sums are from 1, and by how many bits a mixture costs more than an expert and its weight, at most."""
    sums = {
        policy: float(np.abs(lm.next_bytes(texts, policy).sum(axis=1) - 1).max()) for policy in ("ensemble", "bayes")
    }
    weights_BK = lm.weights(texts, "bayes")
    together = lm.score(texts, "bayes", routing="text")
    excess = -np.inf
    for k, name in enumerate(lm.names):
        rows = np.flatnonzero(weights_BK[:, k] > 0)
        for row, alone in zip(rows, lm.score([texts[row] for row in rows], name), strict=True):
            allowed = alone.nats - np.log(weights_BK[row, k])
            excess = max(excess, (together[row].nats - allowed) / np.log(2))
    return {"largest_error_of_a_sum": max(sums.values()), "largest_excess_bits": float(excess)}


def seconds_per_byte(lm: Any, texts: list[str], policy: str) -> float:
    """Of scoring texts, all models in memory."""
    lm.score(texts[:1], policy)
    started = time.perf_counter()
    scores = lm.score(texts, policy)
    return (time.perf_counter() - started) / sum(score.bytes for score in scores)


def seconds_for_next(lm: Any, texts: list[str]) -> float:
    """Of one more byte after a text, from its beginning."""
    started = time.perf_counter()
    for text in texts:
        lm.next_bytes([text], "bayes")
    return (time.perf_counter() - started) / len(texts)


def main(run: Path, out: Path) -> None:
    """Measure and write."""
    lm = xelm.RoutedLM.from_pretrained(run, device="cpu")
    found: dict[str, Any] = {"contexts": CONTEXTS, **bounds(lm, contexts(lm.experts, LONGEST, CONTEXTS))}
    documents = [document.text for document in lm.experts.heldout("test")][::7][:20]
    for length in LENGTHS:
        cut = [text.encode()[:length].decode(errors="ignore").strip() for text in documents]
        found[f"{length} bytes"] = {
            **{policy: 1000 * seconds_per_byte(lm, cut, policy) for policy in ("top1", "ensemble", "bayes")},
            "next": 1000 * seconds_for_next(lm, cut[:5]),
        }
        print(length, found[f"{length} bytes"], flush=True)
    write_json(out, found)
    print(found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
