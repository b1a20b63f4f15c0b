"""How good a ranking of sources is for one target; NDCG and regret are those of `xelm fit`."""

from __future__ import annotations

import numpy as np

from xelm.parts import ndcg, regret, relevance

__all__ = ["ndcg", "paired_p_value", "regret", "relevance"]


def paired_p_value(first_T: np.ndarray, second_T: np.ndarray, draws: int = 20_000, seed: int = 0) -> float:
    """Two-sided p that the mean difference over T targets is 0: signs of the differences flipped at random."""
    differences = first_T - second_T
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, len(differences)))
    extreme = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9
    return float((extreme.sum() + 1) / (draws + 1))
