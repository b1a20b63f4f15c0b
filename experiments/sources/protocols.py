"""Four ways to test a ranking of sources, side by side: NDCG@3 and regret with 95 % intervals over targets.

    python -m experiments.sources.protocols ../shared/data/langrank/dep.csv ../shared/data/langrank/mt.csv

- default: nothing is trained.
- leave one out: trained on all other targets of the table; rows in which the target helped others stay.
- target nowhere: these rows are left out too, as for a language that the table has never seen.
- other task: trained on all of another table, which may have the same targets, and tested on this.
"""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import click
import numpy as np
from tabulate import tabulate

from clustering import fit_ranker, read_transfer_table
from experiments.sources.benchmark import default_scores, trained_scores
from experiments.sources.metrics import ndcg, regret
from xelm.parts import TransferTable

_DRAWS = 2000


@click.command()
@click.argument("tables", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the trained rankers and intervals.")
@click.option("--out", type=click.Path(path_type=Path), help="Write every figure as JSON.")
def main(tables: tuple[Path, ...], seed: int, out: Path | None) -> None:
    """Measure each protocol on each table."""
    known = {
        f"{path.stem} {task}".strip(): table
        for path in tables
        for task, table in read_transfer_table(path).by_task().items()
    }
    found: dict[str, dict[str, Any]] = {}
    for name, table in known.items():
        click.echo(f"{name}: {len(table.rows_by_target())} targets, {len(table.scores)} pairs", err=True)
        found[name] = {"default": _measured(table, default_scores(table), seed)}
        for strict in (False, True):
            protocol = "target nowhere" if strict else "leave one out"
            found[name][protocol] = _measured(table, trained_scores(table, seed, strict=strict), seed)
    for learned, tested in permutations(known, 2):
        scores = _across(known[learned], known[tested], seed)
        found[tested][f"other task: {learned}"] = _measured(known[tested], scores, seed)
    click.echo(_show(found))
    if out:
        out.write_text(json.dumps({"seed": seed, "tables": found}, indent=1) + "\n", encoding="utf-8")


def _across(learned: TransferTable, tested: TransferTable, seed: int) -> np.ndarray:
    ranker = fit_ranker(learned, seed=seed)
    scores = np.zeros(len(tested.scores))
    for query, rows in tested.queries():
        scores[rows] = ranker.scores(query)
    return scores


def _measured(table: TransferTable, predicted: np.ndarray, seed: int) -> dict[str, Any]:
    groups = [rows for _, rows in table.queries() if len(rows) > 1]
    gains = np.array([ndcg(predicted[rows], table.scores[rows]) for rows in groups])
    losses = np.array([regret(predicted[rows], table.scores[rows]) for rows in groups])
    return {"ndcg": _with_interval(gains, seed), "regret": _with_interval(losses, seed), "targets": len(groups)}


def _with_interval(values: np.ndarray, seed: int) -> list[float]:
    draws = np.random.default_rng(seed).integers(len(values), size=(_DRAWS, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return [float(values.mean()), float(low), float(high)]


def _show(found: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            name,
            protocol,
            figures["targets"],
            *("{:.1f} ({:.1f} to {:.1f})".format(*figures[m]) for m in ("ndcg", "regret")),
        ]
        for name, protocols in found.items()
        for protocol, figures in protocols.items()
    ]
    return tabulate(rows, ["table", "protocol", "targets", "NDCG@3", "regret %"], disable_numparse=True)


if __name__ == "__main__":
    main()
