"""Which measured figure predicts best how much a plan gains?

    python -m experiments.plans.predictors experiments/plans/progit-longer.json …/progit-effects-*.json

The files are what `xelm compare` wrote as comparison.json, and effects of both sizes for every seed. The cost of a plan
is the sum of a table over ordered pairs of languages that share a cluster; the table is the effects of the longer
branches, those of the shorter branches (which plans are made from), or the cosines of the updates. Two rank
correlations with the gains are printed: over plans (means over seeds, and each seed), and within a language over plans
(what its companions cost it, against its own gain).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from xelm import Effects


def main() -> None:
    """Print a Markdown table."""
    arms = json.loads(Path(sys.argv[1]).read_text("utf-8"))["arms"]
    effects = [Effects.load(file) for file in sys.argv[2:]]
    tables = {
        "longer branches": [one.probe.matrix for one in effects],
        "shorter branches": [one.shorter.matrix for one in effects if one.shorter],
        "cosines of updates": [one.cosines for one in effects if one.cosines is not None],
    }
    print("| cost from | over plans | by seed | within a language |\n|---|---:|---|---:|")
    for name, found in tables.items():
        if len(found) == len(effects):
            print(_row(name, arms, found, effects[0].languages))


def _row(name: str, arms: list[dict], tables: list[np.ndarray], languages: tuple[str, ...]) -> str:
    index = {code: row for row, code in enumerate(languages)}
    costs = np.array([[_costs(_plan(arm, seed), t, index) for seed, t in enumerate(tables)] for arm in arms])
    gains = np.array([arm["gain_by_seed"] for arm in arms])  # (arms, seeds); costs: (arms, seeds, languages)
    own = np.array([[arm["gain_by_language"][code] for code in languages] for arm in arms])
    totals, brought = costs.sum(axis=2), costs.mean(axis=1)
    seeds = ", ".join(f"{_rank(totals[:, seed], gains[:, seed]):+.2f}" for seed in range(len(tables)))
    within = _rank((brought - brought.mean(axis=0)).ravel(), (own - own.mean(axis=0)).ravel())
    return f"| {name} | {_rank(totals.mean(axis=1), gains.mean(axis=1)):+.2f} | {seeds} | {within:+.2f} |"


def _plan(arm: dict, seed: int) -> dict[str, list[str]]:
    """The clusters of an arm: one plan for all seeds, or one for each."""
    return arm["clusters"][min(seed, len(arm["clusters"]) - 1)]


def _costs(plan: dict[str, list[str]], table: np.ndarray, index: dict[str, int]) -> list[float]:
    """What the companions of each language bring it, in the order of `index`."""
    company = {code: [index[other] for other in codes if other != code] for codes in plan.values() for code in codes}
    return [float(table[company[code], row].sum()) for code, row in index.items()]


def _rank(one: np.ndarray, other: np.ndarray) -> float:
    return float(spearmanr(one, other).statistic)


if __name__ == "__main__":
    main()
