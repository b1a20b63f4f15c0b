"""LambdaMART by LightGBM as an optional model of the trained ranker; its own text form is what gets saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from clustering.errors import BadInput

# LangRank's parameters (Lin et al. 2019) with half the leaves and column sampling: tables of transfer results
# are small, and their first trees already know the training targets by heart.
_PARAMETERS: dict[str, Any] = {
    "num_leaves": 8,
    "learning_rate": 0.05,
    "min_child_samples": 10,
    "colsample_bytree": 0.5,
    "subsample": 0.7,
    "subsample_freq": 1,
    "reg_lambda": 5.0,
    "n_jobs": 1,
    "verbose": -1,
}


@dataclass(frozen=True)
class BoostedModel:
    """Boosted trees fitted to the order of each target's sources.

    Attributes:
        text: LightGBM's own text form.
    """

    text: str
    kind: str = "lightgbm"

    @classmethod
    def fit(
        cls, X: np.ndarray, y: np.ndarray, group_sizes: Sequence[int], *, num_trees: int, seed: int
    ) -> BoostedModel:
        """Fit LambdaMART.

        Args:
            X: Rows, shape (R, F), those of one target together.
            y: Relevance, shape (R,), whole numbers from 0 to 10.
            group_sizes: Rows of each target, in order.
            num_trees: Boosting rounds.
            seed: Same seed, same model.

        Raises:
            BadInput: If lightgbm is not installed.
        """
        lightgbm = _lightgbm()
        ranker = lightgbm.LGBMRanker(n_estimators=num_trees, random_state=seed, **_PARAMETERS)
        ranker.fit(X, y.astype(int), group=list(group_sizes))
        return cls(ranker.booster_.model_to_string())

    @cached_property
    def _booster(self) -> Any:
        return _lightgbm().Booster(model_str=self.text)

    def explain(self, X: np.ndarray) -> np.ndarray:
        """SHAP values of each feature, shape (R, F)."""
        return np.asarray(self._booster.predict(X, pred_contrib=True))[:, :-1]

    def to_json(self) -> Any:
        """LightGBM's text."""
        return self.text


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise BadInput(
            "The method lightgbm needs the package lightgbm: pip install 'xelm[lightgbm]'. "
            "The default method, trees, needs nothing more."
        ) from None
    return lightgbm
