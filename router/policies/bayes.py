"""`bayes`: weights follow the text as it unfolds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from router.routes.policy import Policy, policy


@policy("bayes")
@dataclass(frozen=True)
class Bayes(Policy):
    """The posterior over experts given the tokens so far, with the router's weights as its prior (BTM)."""

    dynamic: ClassVar[float] = True
    decides: ClassVar[bool] = False

    def choose(self, weights_BK: np.ndarray, experts: Sequence[str]) -> np.ndarray:
        """All weights: the smallest may grow."""
        return weights_BK.copy()
