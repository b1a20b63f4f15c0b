"""Source ranking measured: NDCG@3 x 100 and regret on tables of transfer results, one target left out at a time.

    python -m experiments.sources.benchmark --data ../shared/data/langrank --out experiments/sources/results.json
    python -m experiments.sources.benchmark my-results.csv

Any table that `xelm sources fit` reads will do.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
from tabulate import tabulate

from clustering import fit_ranker, read_transfer_table
from experiments.sources.baselines import langrank_scores, random_scores, single_signals
from experiments.sources.metrics import ndcg, paired_p_value, regret
from xelm.parts import TransferTable, default_contributions

_TYPOLOGY = ("shared_family", "syntactic", "geographic")
_RANDOM_DRAWS = 200
_SHAKES = 50


@click.command()
@click.argument("tables", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="Folder with dep.csv and mt.csv of LangRank."
)
@click.option("--seeds", type=int, default=3, show_default=True, help="Seeds of the trained rankers.")
@click.option("--strict/--no-strict", default=True, help="Also leave the target out as a source.")
@click.option("--out", type=click.Path(path_type=Path), help="Write every figure as JSON.")
def main(tables: tuple[Path, ...], data: Path | None, seeds: int, strict: bool, out: Path | None) -> None:
    """Compare ways to rank sources on each table."""
    warnings.filterwarnings("ignore", message=".*feature names.*")
    paths = [*tables, *([data / "dep.csv", data / "mt.csv"] if data else [])]
    if not paths:
        raise click.UsageError("Give tables, or --data with the folder of dep.csv and mt.csv.")
    results = {}
    for path in paths:
        full = read_transfer_table(path, keep_distances=True)
        results[path.stem] = _measure(full, seeds, strict)
        click.echo(_show(path.stem, full, results[path.stem]))
    if out:
        versions = {name: version(name) for name in ("numpy", "scikit-learn", "lightgbm", "lang2vec")}
        facts = {"seeds": seeds, "python": platform.python_version(), "versions": versions, "tables": results}
        out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _measure(full: TransferTable, seeds: int, strict: bool) -> dict[str, dict]:
    """Every method's NDCG, spread over seeds, regret and NDCG per target."""
    own = replace(full, features={n: v for n, v in full.features.items() if not n.startswith("table_")})
    methods: dict[str, list[np.ndarray]] = {"random": [random_scores(own, seed) for seed in range(_RANDOM_DRAWS)]}
    methods |= {f"signal: {name}": [scores] for name, scores in single_signals(full)}
    clock = {}
    for name, run in _whole_rankings(full, own, seeds, strict).items():
        started = time.perf_counter()
        methods[name] = run()
        clock[name] = (time.perf_counter() - started) / len(methods[name])
    by_target = full.rows_by_target()
    measured = {}
    for name, runs in methods.items():
        scores = np.array([[ndcg(run[rows], full.scores[rows]) for rows in by_target.values()] for run in runs])
        losses = [regret(run[rows], full.scores[rows]) for run in runs for rows in by_target.values()]
        measured[name] = {
            "ndcg": float(scores.mean()),
            "spread": float(scores.mean(axis=1).std(ddof=1)) if len(runs) > 1 else None,
            "regret": float(np.mean(losses)),
            "seconds": clock.get(name),
            "per_target": dict(zip(by_target, scores.mean(axis=0).round(2).tolist(), strict=True)),
        }
    return measured


def _whole_rankings(
    full: TransferTable, own: TransferTable, seeds: int, strict: bool
) -> dict[str, Callable[[], list[np.ndarray]]]:
    runs: dict[str, Callable[[], list[np.ndarray]]] = {
        "LangRank (its features, LightGBM)": lambda: [langrank_scores(full)],
        "default, typology alone": lambda: [default_scores(own, only=_TYPOLOGY)],
        "default": lambda: [default_scores(own)],
        "default, weights shaken": lambda: [default_scores(own, shake=seed) for seed in range(_SHAKES)],
        "trained": lambda: [trained_scores(own, seed, strict=False) for seed in range(seeds)],
    }
    if strict:
        runs["LangRank, target nowhere in the table"] = lambda: [langrank_scores(full, strict=True)]
        runs["trained, target nowhere in the table"] = lambda: [trained_scores(own, 0, strict=True)]
    return runs


def default_scores(table: TransferTable, only: tuple[str, ...] | None = None, shake: int | None = None) -> np.ndarray:
    """The training-free ranking; `shake` multiplies each weight by exp(N(0, 0.3))."""
    generator = np.random.default_rng(shake)
    weights: dict[str, float] = {}
    scores = np.zeros(len(table.targets))
    for query, rows in table.queries():
        raw = query.raw if only is None else {name: query.raw[name] for name in only}
        for name, part in default_contributions(raw).items():
            if name not in weights:
                weights[name] = 1.0 if shake is None else float(np.exp(generator.normal(0.0, 0.3)))
            scores[rows] += weights[name] * part
    return scores


def trained_scores(table: TransferTable, seed: int, *, strict: bool) -> np.ndarray:
    """The trained ranker, fitted anew without each target."""
    scores = np.zeros(len(table.targets))
    targets, sources = np.array(table.targets), np.array(table.sources)
    for query, rows in table.queries():
        kept = targets != query.target
        if strict:
            kept &= sources != query.target
        scores[rows] = fit_ranker(table.of_rows(np.flatnonzero(kept)), seed=seed).scores(query)
    return scores


def _show(name: str, table: TransferTable, measured: dict[str, dict]) -> str:
    rival = "LangRank (its features, LightGBM)"
    singles = {key: value for key, value in measured.items() if key.startswith("signal: ")}
    best = max(singles, key=lambda key: singles[key]["ndcg"])
    rows = []
    for key, value in measured.items():
        spread = "" if value["spread"] is None else f"± {value['spread']:.1f}"
        seconds = value["seconds"]
        per_ranking = "" if seconds is None else f"{1000 * seconds / len(value['per_target']):.1f}"
        p_values = [""] * 2
        if not key.startswith(("signal: ", "random")):
            mine = np.array(list(value["per_target"].values()))
            others = (np.array(list(measured[other]["per_target"].values())) for other in (rival, best))
            p_values = [f"{paired_p_value(mine, other):.3f}" for other in others]
        rows.append([key, f"{value['ndcg']:.1f}", spread, f"{value['regret']:.1f}", per_ranking, *p_values])
    title = f"\n{name}: {len(table.rows_by_target())} targets, {len(table.targets)} pairs; best single {best}\n"
    heads = ["method", "NDCG@3", "seeds", "regret %", "ms/target", "p vs LangRank", "p vs best single"]
    return title + tabulate(rows, heads, disable_numparse=True)


if __name__ == "__main__":
    main()
