"""`ensemble`: all experts answer by their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from router.routes.policy import Policy, drop_negligible, policy


@policy("ensemble")
@dataclass(frozen=True)
class Ensemble(Policy):
    """The router's weights, without those that are too small to be worth a pass."""

    decides: ClassVar[bool] = False

    def choose(self, weights_BK: np.ndarray, experts: Sequence[str]) -> np.ndarray:
        """All but negligible weights."""
        return drop_negligible(weights_BK)
