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
    warmup_steps: int | None = None
    """Steps of the warm-up; None: `warmup_fraction` of all."""

    def rate(self, step: int) -> float:
        """Learning rate of a step, 0 <= step < num_steps. `wsd` decays over the last fifth (Hu et al. 2024)."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        return self.peak * (self.min_ratio + (1 - self.min_ratio) * self._height(self._done(step)))

    @property
    def warmup(self) -> int:
        """Steps over which the rate rises."""
        return max(1, round(self.num_steps * self.warmup_fraction) if self.warmup_steps is None else self.warmup_steps)

    @property
    def stable_steps(self) -> int:
        """Steps before the rate of `wsd` begins to fall; of other schedules, and where there is no such phase, 0."""
        if self.kind != "wsd" or self.warmup >= self.num_steps:
            return 0
        # The height is 1 at the beginning and falls in the last fifth, so the search begins a little before.
        begin = self.warmup + max(0, int((1 - _WSD_DECAY) * (self.num_steps - 1 - self.warmup)) - 2)
        steps = range(begin, self.num_steps)
        return next((step for step in steps if self._height(self._done(step)) < 1), self.num_steps)

    def _done(self, step: int) -> float:
        descent = self.num_steps - 1 - self.warmup
        return (step - self.warmup) / descent if descent else 1.0

    def _height(self, done: float) -> float:
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.kind == "linear":
            return 1 - done
        if self.kind == "wsd":
            return min(1.0, (1 - done) / _WSD_DECAY)
        return 1.0
