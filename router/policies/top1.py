"""`top1`: the best expert alone answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.routes.policy import Policy, keep_best, policy


@policy("top1")
@dataclass(frozen=True)
class Top1(Policy):
    """Dispatch: the expert of the largest weight; of equal ones, the first."""

    def choose(self, weights_BK: np.ndarray, experts: Sequence[str]) -> np.ndarray:
        """All weight on the best."""
        return keep_best(weights_BK, 1)
