"""`topm:3`: the best few experts answer together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clustering.errors import BadInput
from router.routes.policy import Policy, keep_best, policy


@policy("topm")
@dataclass(frozen=True)
class TopM(Policy):
    """The `num_kept` experts of the largest weights, renormalised; of equal ones, the first."""

    option: ClassVar[str | None] = "m"
    num_kept: int = 2

    @classmethod
    def read(cls, option: str | None) -> TopM:
        """`topm` (the 2 best), `topm:3`.

        Raises:
            BadInput: If the option is no number.
        """
        if option is None:
            return cls()
        if not option.isdecimal() or int(option) < 1:
            raise BadInput(
                f"Policy 'topm:{option}': the number of experts must be a whole number of at least 1, as in topm:3."
            )
        return cls(int(option))

    def __str__(self) -> str:
        return f"topm:{self.num_kept}"

    def choose(self, weights_BK: np.ndarray, experts: Sequence[str]) -> np.ndarray:
        """Weight on the best alone."""
        return keep_best(weights_BK, self.num_kept)
