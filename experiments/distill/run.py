"""Students of a run's experts beside dense: with teacher, without (the control), several seeds.

    python experiments/distill/run.py RUN WORK [--tokens N] [--seeds 3] [--mix 0.5]

Everything that is finished is kept in WORK; run again it goes on. WORK/results.json has the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import xelm
from xelm.parts import write_json


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--mix", default="0,0.5")
    parser.add_argument("--to", default="same")
    asked = parser.parse_args()
    mixes, seeds = [float(mix) for mix in asked.mix.split(",")], range(asked.seeds)
    found: dict[tuple[float, int], xelm.Distillation] = {}
    for seed in seeds:
        for mix in mixes:
            out = asked.work / f"{asked.to}-{mix}-{seed}"
            found[mix, seed] = xelm.distill(asked.run, out, to=asked.to, tokens=asked.tokens, mix=mix, seed=seed)
            print(mix, seed, found[mix, seed].compared, flush=True)
    table: dict[str, Any] = {"tokens": found[mixes[0], 0].tokens, "seeds": asked.seeds}
    for mix in mixes:
        own = [found[mix, seed] for seed in seeds]
        means = [next(row["mean"] for row in one.table if row["model"] == "student") for one in own]
        table[f"mix {mix}"] = {"bits_per_byte": float(np.mean(means)), "by_seed": means}
        for name in own[0].compared:
            values = np.mean([np.resize(one.compared[name], 3) for one in own], axis=0)
            table[f"mix {mix}"][f"against {name}, %"] = values[: len(own[0].compared[name])].tolist()
    others = {row["model"]: row["mean"] for row in found[mixes[0], 0].table if row["model"] != "student"}
    table["others"] = others
    write_json(asked.work / "results.json", table)
    print(table)


if __name__ == "__main__":
    main()
