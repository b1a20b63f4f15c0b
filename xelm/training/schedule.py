"""Learning rate as a function of the step, so that a resumed training needs no scheduler state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_WSD_DECAY = 0.2


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A warm-up to `peak`, then a named form of decay to `peak * min_ratio` at the last step."""

    kind: Literal["cosine", "linear", "wsd", "constant"]
    peak: float
    num_steps: int
    warmup_fraction: float
    min_ratio: float

    def rate(self, step: int) -> float:
        """Learning rate of a step, 0 <= step < num_steps. `wsd` decays over the last fifth (Hu et al. 2024)."""
        warmup = max(1, round(self.num_steps * self.warmup_fraction))
        if step < warmup:
            return self.peak * (step + 1) / warmup
        descent = self.num_steps - 1 - warmup
        done = (step - warmup) / descent if descent else 1.0
        return self.peak * (self.min_ratio + (1 - self.min_ratio) * self._height(done))

    def _height(self, done: float) -> float:
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.kind == "linear":
            return 1 - done
        if self.kind == "wsd":
            return min(1.0, (1 - done) / _WSD_DECAY)
        return 1.0
