"""Quality of a ranking of sources for one target. Shapes: C candidates."""

from __future__ import annotations

import numpy as np

TOP = 3
RELEVANT = 10


def relevance(scores: np.ndarray) -> np.ndarray:
    """11 - rank for the ten best of a target's sources, else 0; equal scores share the better rank.

    Args:
        scores: Shape (C,), higher is better.

    Returns:
        Shape (C,), 0 to 10.
    """
    rank = (scores[None, :] > scores[:, None]).sum(axis=1) + 1
    return np.asarray(np.clip(RELEVANT + 1 - rank, 0, RELEVANT).astype(float))


def ndcg(predicted_C: np.ndarray, scores_C: np.ndarray) -> float:
    """NDCG@3 x 100: gain 2^relevance - 1, discount 1 / log2(1 + position).

    Candidates with equal predictions count with their mean gain, that is the mean over all orders of the tie
    (McSherry & Najork 2008), so that the order of the file does not matter.
    """
    gains = 2.0 ** relevance(scores_C) - 1
    discounts = 1 / np.log2(2 + np.arange(min(TOP, len(gains))))
    order = np.argsort(-predicted_C, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(predicted_C[order]) != 0])
    lengths = np.diff(np.r_[starts, len(order)])
    expected = np.repeat(np.add.reduceat(gains[order], starts) / lengths, lengths)
    ideal = np.sort(gains)[::-1][: len(discounts)] @ discounts
    return float(100 * (expected[: len(discounts)] @ discounts) / ideal)


def regret(predicted_C: np.ndarray, scores_C: np.ndarray) -> float:
    """Difference between the best of the ranking's top three and the best of all, in % of the latter's score."""
    chosen = np.argsort(-predicted_C, kind="stable")[:TOP]
    best = scores_C.max()
    return float(100 * (best - scores_C[chosen].max()) / abs(best)) if best else 0.0
