"""`bayes`: weights follow the text as it unfolds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from router.routes.policy import Policy, policy

MANY = 16
"""With more experts, those whose prior is negligible do not run."""
NEGLIGIBLE_PRIOR = 1e-3


@policy("bayes")
@dataclass(frozen=True)
class Bayes(Policy):
    """The posterior over experts given the tokens so far, with the router's weights as its prior (BTM).

    Of more than `MANY` experts only those run that carry all but `NEGLIGIBLE_PRIOR` of the prior. The distribution over
    whole texts then differs from that of all experts by at most `NEGLIGIBLE_PRIOR` in total variation, and its
    divergence from it, KL(pruned || all), is at most -log(1 - NEGLIGIBLE_PRIOR) nats a text. It may miss a text that a
    dropped expert alone would have expected; with few experts, where running all is cheap, none is dropped.
    """

    dynamic: ClassVar[float] = True
    decides: ClassVar[bool] = False

    def choose(self, weights_BK: np.ndarray, experts: Sequence[str]) -> np.ndarray:
        """All weights, since the smallest may grow; of many experts, the largest weights that matter together."""
        if weights_BK.shape[1] <= MANY:
            return weights_BK.copy()
        order_BK = np.argsort(-weights_BK, axis=1, kind="stable")
        sorted_BK = np.take_along_axis(weights_BK, order_BK, axis=1)
        # An expert is needed as long as those before it lack more than is negligible.
        needed_BK = np.cumsum(sorted_BK, axis=1) - sorted_BK < 1 - NEGLIGIBLE_PRIOR
        kept_BK = np.zeros_like(weights_BK)
        np.put_along_axis(kept_BK, order_BK, np.where(needed_BK, sorted_BK, 0.0), axis=1)
        return np.asarray(kept_BK / kept_BK.sum(axis=1, keepdims=True))
