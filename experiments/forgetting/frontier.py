"""Six ways to forget less, at equal tokens, against plain training at fewer steps and lower rates.

    python -m experiments.forgetting.frontier --base runs/progit/base --data ../shared/data/progit --seeds 3

Experts are trained from one finished base. Each way is set more and less strongly; the control is plain training that
ends earlier or runs at a lower rate. Own gain and cost elsewhere are means over experts on test text; nothing is chosen
on it but the settings of the picture's axis. Run again after an interruption it continues.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xelm import ExpertSet, Recipe, blend, train
from xelm.parts import read_json, write_json

HERE = Path(__file__).parent
AT = 0.9
"""Share of plain training's own gain at which costs are compared."""


@dataclass(frozen=True)
class Arm:
    """One setting of one way."""

    way: str
    value: str
    expert: dict[str, Any] = field(default_factory=dict)
    tokens: float = 1.0
    """Share of the tokens."""
    rate: float = 1.0
    """Share of the learning rate."""
    after: dict[str, Any] = field(default_factory=dict)
    """Arguments of `blend` on plain training's experts; then nothing is trained."""


PLAIN = Arm("plain", "all steps")
ARMS = [
    PLAIN,
    *(Arm("plain", f"{share:g} of the steps", tokens=share) for share in (0.2, 0.4, 0.7)),
    *(Arm("plain", f"{share:g} of the rate", rate=share) for share in (0.1, 0.25, 0.5)),
    *(Arm("blend", f"λ {keep}", after={"keep": keep}) for keep in (0.9, 0.8, 0.65, 0.5)),
    *(Arm("anchor", f"{strength:g}", expert={"anchor": strength}) for strength in (10.0, 30.0, 100.0)),
    Arm("freeze", "embedding", expert={"freeze": ["embedding"]}),
    Arm("freeze", "layer 0", expert={"freeze": ["0"]}),
    Arm("freeze", "feed-forward", expert={"freeze": ["*.mlp.*"]}),
    Arm("unread rows in training", "all steps", expert={"freeze": ["unread"]}),
    *(
        Arm("unread rows in training", f"{share:g} of the rate", rate=share, expert={"freeze": ["unread"]})
        for share in (0.25, 0.5)
    ),
    Arm("unread rows in training", "anchor 30", expert={"freeze": ["unread"], "anchor": 30.0}),
    *(Arm("put back", f"lose {lose}", after={"put_back": "auto", "lose": lose}) for lose in (0.1, 0.3)),
    Arm("unread rows", "λ 1", after={"keep": 1.0, "unread": True}),
    *(Arm("unread rows", f"λ {keep}", after={"keep": keep, "unread": True}) for keep in (0.9, 0.8, 0.65)),
    *(Arm("replay", f"{share:g}", expert={"replay": share}) for share in (0.1, 0.3)),
]


def main() -> None:
    """Train and measure every arm, print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="A finished base.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of <code>.jsonl.gz.")
    parser.add_argument("--languages", nargs="+", default=["deu", "fra", "ita", "jpn", "rus", "srp", "tur", "zho"])
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=1_310_720, help="Of all experts together.")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/frontier"), help="Finished arms.")
    parser.add_argument("--out", type=Path, default=HERE / "frontier.json")
    options = parser.parse_args()
    rows = [row for seed in range(options.seeds) for row in _seed(seed, options)]
    settings = {"languages": options.languages, "k": options.k, "tokens": options.tokens, "seeds": options.seeds}
    options.out.write_text(json.dumps({**settings, "rows": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(table(rows))
    draw(rows, options.out.with_suffix(".svg"))


def _seed(seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for arm in ARMS:
        place = options.work / f"{seed}-{arm.way}-{arm.value}".replace(" ", "-")
        file = place.with_suffix(place.suffix + ".json")
        if not file.is_file():
            write_json(file, _measured(_made(arm, place, seed, options)))
            if arm is not PLAIN:
                shutil.rmtree(place)
        rows.append({"seed": seed, "way": arm.way, "value": arm.value, **read_json(file)})
    return rows


def _made(arm: Arm, place: Path, seed: int, options: argparse.Namespace) -> ExpertSet:
    plain = options.work / f"{seed}-{PLAIN.way}-{PLAIN.value}".replace(" ", "-")
    if arm.after:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(plain, place)
        return blend(place, **arm.after)
    if arm is not PLAIN and not place.exists():  # the same base and text
        for part in ("base", "cache"):
            shutil.copytree(plain / part, place / part)
    recipe = Recipe.from_dict(
        {
            "base": {"model": str(options.base.resolve())},
            "data": {"path": str(options.data.resolve()), "languages": options.languages, "heldout_bytes": 8192},
            "clusters": {"k": options.k, "balance": "languages"},
            "expert": {"kind": "full", **arm.expert},
            "train": {
                "tokens": round(arm.tokens * options.tokens),
                "batch_size": 16,
                "sequence_length": 256,
                "learning_rate": arm.rate * 2e-3,
                "dense": False,
                "seed": seed,
            },
        }
    )
    return train(recipe, place)


def _measured(experts: ExpertSet) -> dict[str, Any]:
    result = experts.result("test")
    assert result
    found = [result.forgetting[name] for name in experts.names]
    return {
        "own_gain_percent": [row.own_gain_percent for row in found],
        "cost_elsewhere_percent": [row.cost_elsewhere_percent for row in found],
    }


def _points(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], np.ndarray]:
    """(way, value) -> share of plain training's own gain and of its cost, a row a seed, shape (S, 2)."""
    rows = list(rows)
    means = {
        (row["seed"], row["way"], row["value"]): np.array(
            [np.mean(row["own_gain_percent"]), np.mean(row["cost_elsewhere_percent"])]
        )
        for row in rows
    }
    seeds = sorted({row["seed"] for row in rows})
    return {
        (arm.way, arm.value): np.array(
            [means[seed, arm.way, arm.value] / means[seed, PLAIN.way, PLAIN.value] for seed in seeds]
        )
        for arm in ARMS
    }


def cost_at(points: np.ndarray, share: float = AT) -> float:
    """Least cost at a share of own gain on the lines through points (N, 2) and the base; NaN if out of reach."""
    points = np.vstack([[0.0, 0.0], points[np.argsort(points[:, 0])]])
    costs = []
    for (gain, cost), (other_gain, other_cost) in pairwise(points):
        if gain <= share <= other_gain and other_gain > gain:
            costs.append(cost + (other_cost - cost) * (share - gain) / (other_gain - gain))
    return float(min(costs, default=np.nan))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: every point, then the cost of every way at nine tenths of the gain."""
    points = _points(rows)
    lines = ["| way | setting | own gain, share of plain | cost elsewhere, share of plain |", "|---|---|---:|---:|"]
    for (way, value), shares in points.items():
        (gain, cost), (gain_sd, cost_sd) = shares.mean(axis=0), shares.std(axis=0, ddof=1 if len(shares) > 1 else 0)
        lines.append(f"| {way} | {value} | {gain:.2f} ± {gain_sd:.2f} | {cost:.2f} ± {cost_sd:.2f} |")
    lines += ["", f"| way | cost at {AT} of the gain, by seed |", "|---|---|"]
    seeds = len(next(iter(points.values())))
    for way in dict.fromkeys(arm.way for arm in ARMS):
        ends = [points[PLAIN.way, PLAIN.value]] if way != "plain" else []
        mine = [shares for (name, _), shares in points.items() if name == way] + ends
        found = [cost_at(np.array([shares[seed] for shares in mine])) for seed in range(seeds)]
        lines.append(f"| {way} | {', '.join(f'{value:.2f}' for value in found)} |")
    return "\n".join(lines)


def _lines(points: dict[tuple[str, str], np.ndarray]) -> Iterable[tuple[str, dict[str, Any], np.ndarray]]:
    """Label, style and points of each line, means over seeds, shape (N, 2); plain training has one for each control."""
    mean = {arm: found.mean(axis=0) for arm, found in points.items()}
    for what, dashes in (("steps", "--"), ("rate", "-")):
        control = [found for (way, value), found in mean.items() if way == "plain" and value.endswith(what)]
        full = mean[PLAIN.way, PLAIN.value]
        label = {"steps": "plain, fewer steps", "rate": "plain, lower rate"}[what]
        own = [found for found in control if found is not full]
        yield label, {"color": "black", "linewidth": 2.0, "linestyle": dashes}, np.array([*own, full])
    for way in dict.fromkeys(arm.way for arm in ARMS if arm.way != "plain"):
        yield way, {"linewidth": 1.4}, np.array([found for (name, _), found in mean.items() if name == way])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Own gain against cost elsewhere, mean over seeds, a line a way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    for label, style, shares in _lines(_points(rows)):
        shares = shares[np.argsort(shares[:, 0])]
        axis.plot(shares[:, 0], shares[:, 1], marker="o", label=label, **style)
    axis.axvline(AT, color="grey", linewidth=0.8, linestyle=":")
    axis.set_xlabel("own gain, share of plain training's")
    axis.set_ylabel("cost elsewhere, share of plain training's")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
