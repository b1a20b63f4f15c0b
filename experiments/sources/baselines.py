"""What the rankings of xelm are compared with: chance, single signals, LangRank's features and LightGBM."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from experiments.sources.metrics import relevance
from xelm.parts import SIGNALS, TransferTable

# Lin et al. 2019, as in their code; 100 trees are LightGBM's default.
LANGRANK_PARAMETERS = {
    "boosting_type": "gbdt",
    "num_leaves": 16,
    "max_depth": -1,
    "learning_rate": 0.1,
    "n_estimators": 100,
    "min_child_samples": 5,
}
_HIGHER_IS_NEARER = {"shared_family", "word_overlap", "subword_overlap", "source_size", "size_ratio", "target_size"}
_NO_ORDER = {"target_size", "target_ttr"}


def random_scores(table: TransferTable, seed: int) -> np.ndarray:
    """Scores of chance, shape (R,)."""
    return np.random.default_rng(seed).random(len(table.targets))


def single_signals(table: TransferTable) -> Iterator[tuple[str, np.ndarray]]:
    """Every signal by itself, ours and the table's own, with scores of shape (R,)."""
    filled: dict[str, np.ndarray] = {}
    for query, rows in table.queries():
        for name, values in query.raw.items():
            filled.setdefault(name, np.full(len(table.targets), np.nan))[rows] = values
    for name, values in filled.items():
        if name in _NO_ORDER or not (name in SIGNALS or name.startswith("table_")):
            continue
        sign = 1.0 if name in _HIGHER_IS_NEARER else -1.0
        yield name, np.nan_to_num(sign * values, nan=-np.inf, neginf=-1e18)


def langrank_scores(table: TransferTable, *, seed: int = 0, strict: bool = False) -> np.ndarray:
    """LangRank's features as they stand in the table and its LightGBM, each target left out in turn.

    Args:
        table: Read with `keep_distances=True`.
        seed: Of LightGBM (which draws nothing with these parameters).
        strict: Leave the target out as a source as well.

    Returns:
        Scores, shape (R,).
    """
    import lightgbm

    names = [name for name in table.features if name in SIGNALS or name.startswith("table_")]
    X = np.column_stack([table.features[name] for name in names])
    targets, sources = np.array(table.targets), np.array(table.sources)
    labels = np.zeros(len(targets), dtype=int)
    for rows in table.rows_by_target().values():
        labels[rows] = relevance(table.scores[rows]).astype(int)
    scores = np.zeros(len(targets))
    for target, rows in table.rows_by_target().items():
        kept = targets != target
        if strict:
            kept &= sources != target
        chosen = np.flatnonzero(kept)[np.argsort(targets[kept], kind="stable")]
        _, sizes = np.unique(targets[chosen], return_counts=True)
        ranker = lightgbm.LGBMRanker(**LANGRANK_PARAMETERS, random_state=seed, n_jobs=1, verbose=-1)
        ranker.fit(X[chosen], labels[chosen], group=sizes)
        scores[rows] = ranker.predict(X[rows])
    return scores
