"""Accuracy and F1 of answers."""

from __future__ import annotations

from collections.abc import Sequence


def macro_f1(gold: Sequence[str], given: Sequence[str]) -> float:
    """F1 of each class that the gold labels have, in the mean; 0 for a class that is never answered rightly."""
    scores = []
    for label in sorted(set(gold)):
        hits = sum(1 for g, a in zip(gold, given, strict=True) if g == a == label)
        wanted, answered = gold.count(label), given.count(label)
        scores.append(2 * hits / (wanted + answered))
    return sum(scores) / len(scores) if scores else 0.0
