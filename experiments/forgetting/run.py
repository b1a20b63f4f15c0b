"""Blend copies of finished runs and measure what it keeps and saves, with intervals over documents.

    python -m experiments.forgetting.run demo-run runs/progit runs/bible --out experiments/forgetting/results.json

λ is chosen on valid text, for a loss of own gain of a tenth and of 0.15; `test` is on test text. Works on
copies; the runs stay as they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from xelm import ExpertSet, RoutedLM, blend

LOSSES = (0.1, 0.15)
RESAMPLES = 2000


def main() -> None:
    """Measure every run named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    options = parser.parse_args()
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    for run in options.runs:
        results[run.name] = measured(run)
        options.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(table(run.name, results[run.name]), flush=True)


def measured(run: Path) -> dict[str, Any]:
    """Every expert of a run before and after, for each loss that is allowed."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(run, Path(scratch) / "run"))
        nats = own_nats(ExpertSet.load(copy))
        found = {}
        for lose in LOSSES:
            experts = blend(copy, keep="auto", lose=lose)
            found[str(lose)] = {name: one(experts, name, nats) for name in experts.names}
    return found


def one(experts: ExpertSet, name: str, nats: dict[str, Any]) -> dict[str, Any]:
    """One expert: λ, shares of own gain kept and of cost left on both splits, interval of the first on test text."""
    row: dict[str, Any] = {"keep": experts.manifest.experts[name].keep or 1.0}
    for split in ("valid", "test"):
        after, before = experts.result(split), experts.trained().result(split)
        assert after and before
        new, old = after.forgetting[name], before.forgetting[name]
        row[split] = {
            "own_gain_percent": [old.own_gain_percent, new.own_gain_percent],
            "cost_elsewhere_percent": [old.cost_elsewhere_percent, new.cost_elsewhere_percent],
            "gain_kept": new.own_gain_percent / old.own_gain_percent,
            "cost_left": new.cost_elsewhere_percent / old.cost_elsewhere_percent,
        }
    base, trained = nats["base"], nats[name]
    moved = scored(RoutedLM(experts), name, nats["texts"])
    row["gain_kept_interval"] = interval(base, trained, moved, experts.plan.clusters[name])
    row["documents"] = sum(len(base[code]) for code in experts.plan.clusters[name])
    return row


def own_nats(experts: ExpertSet) -> dict[str, dict[str, Any]]:
    """Model -> language -> nats of each test document; `texts` -> language -> these documents."""
    texts: dict[str, list[str]] = {}
    for document in experts.heldout("test"):
        texts.setdefault(document.language, []).append(document.text)
    lm = RoutedLM(experts)
    found: dict[str, dict[str, Any]] = {"texts": texts}
    found["base"] = {code: [score.nats for score in lm.score(rows, policy="base")] for code, rows in texts.items()}
    found |= {name: scored(lm, name, texts) for name in experts.names}
    return found


def scored(lm: RoutedLM, name: str, texts: dict[str, list[str]]) -> dict[str, list[float]]:
    """Language -> nats of each test document of an expert's own languages."""
    codes = [code for code in lm.experts.plan.clusters[name] if code in texts]
    return {code: [score.nats for score in lm.score(texts[code], policy=name)] for code in codes}


def interval(base: dict[str, Any], trained: dict[str, Any], moved: dict[str, Any], codes: list[str]) -> list[float]:
    """95 % interval of the share of own gain that is kept: paired bootstrap over the documents of each language."""
    rng, gains = np.random.default_rng(0), np.zeros((2, RESAMPLES))
    for code in codes:
        rows = [np.array(of[code]) for of in (base, moved, trained)]
        picks = rng.integers(len(rows[0]), size=(RESAMPLES, len(rows[0])))
        sums = [row[picks].sum(axis=1) for row in rows]
        gains += np.stack([1 - sums[1] / sums[0], 1 - sums[2] / sums[0]])
    return np.percentile(gains[0] / gains[1], [2.5, 97.5]).round(4).tolist()


def table(name: str, found: dict[str, Any]) -> str:
    """Rows of Markdown."""
    lines = []
    for lose, experts in found.items():
        for expert, row in experts.items():
            test, (low, high) = row["test"], row["gain_kept_interval"]
            (own, own_now), (cost, cost_now) = test["own_gain_percent"], test["cost_elsewhere_percent"]
            lines.append(
                f"| {name} | {lose} | {expert} | {row['keep']:.2f} | {own:.1f} → {own_now:.1f} | "
                f"{test['gain_kept']:.3f} ({low:.3f} to {high:.3f}) | {cost:.1f} → {cost_now:.1f} | "
                f"{test['cost_left']:.3f} |"
            )
        mean = np.mean([row["test"]["cost_left"] for row in experts.values()])
        lines.append(f"| {name} | {lose} | mean | | | | | {mean:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
