"""From `results.json` to the figures: who wins where, how good the chosen donor is, and the pictures.

python -m experiments.new_language.summarise
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from clustering import name_of
from xelm.parts import read_json

HERE = Path(__file__).parent
NEAR = 1.02
"""The chosen donor counts as good when its bits per byte are within 2 % of the best donor's."""
STYLES = {
    "chosen": ("expert of the chosen donor (HMR)", "#0072b2", "-"),
    "base": ("base (LAPT)", "#e69f00", "-"),
    "dense": ("dense (LAPT)", "#009e73", "-"),
    "far": ("expert of the farthest donor", "#cc79a7", "--"),
    "scratch": ("scratch", "#777777", ":"),
}


def main() -> None:
    """Print the tables and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--out", type=Path, default=HERE, help="Folder of the pictures.")
    options = parser.parse_args()
    results = read_json(options.results)
    rows = {code: summary(entry) for code, entry in results["languages"].items()}
    click.echo(tables(rows))
    draw_curves(results, rows, options.out / "curves.svg")
    draw_sizes(results, rows, options.out / "sizes.svg")


def summary(entry: dict[str, Any]) -> dict[str, Any]:
    """One language: bits per byte of the arms that matter, and which donors each signal points to."""
    bits = {(arm["size"], arm["start"]): arm["bits_per_byte"] for arm in entry["arms"]}
    donors = [row for row in entry["choice"]["candidates"] if row["name"] not in ("base", "dense")]
    after = {row["name"]: bits["all", row["name"]] for row in donors}
    chosen, best = entry["choice"]["donor"], min(after, key=lambda name: after[name])
    others = [row for row in donors if row["name"] != chosen]
    words = max(donors, key=lambda row: row["overlap"] or 0.0)
    signals = {
        "choice": chosen,
        "loss": min(donors, key=lambda row: row["bits_per_byte"])["name"],
        "typology": min(donors, key=lambda row: row["distance"])["name"],
        "words": words["name"] if words["overlap"] else None,
    }
    far = max(others, key=lambda row: row["distance"])["name"]
    return {
        "chosen": chosen,
        "best": best,
        "far": far,
        "signals": signals,
        "excess": {signal: after[name] / after[best] - 1 if name else None for signal, name in signals.items()},
        "after": after,
        "arms": {"chosen": after[chosen], "far": after[far]}
        | {start: bits["all", start] for start in ("base", "dense", "scratch")},
        "sizes": {
            size: {"chosen": bits[size, chosen], "base": bits[size, "base"]} for size in sorted({s for s, _ in bits})
        },
        "bytes": {arm["size"]: arm["bytes"] for arm in entry["arms"]},
    }


def tables(rows: dict[str, dict[str, Any]]) -> str:
    """All tables as Markdown."""
    return "\n\n".join([_arms_table(rows), _donor_table(rows), _sizes_table(rows), _verdicts(rows)])


def _arms_table(rows: dict[str, dict[str, Any]]) -> str:
    headers = ["language", "donor", "HMR", "base", "dense", "far donor", "scratch", "HMR against base"]
    body = []
    for code, row in rows.items():
        arms = row["arms"]
        gain = f"{100 * (arms['chosen'] / arms['base'] - 1):+.1f} %"
        cells = [f"{arms[key]:.3f}" for key in ("chosen", "base", "dense", "far", "scratch")]
        body.append([f"{name_of(code)} ({code})", _short(row["chosen"]), *cells, gain])
    return tabulate(body, headers, tablefmt="github", disable_numparse=True)


def _donor_table(rows: dict[str, dict[str, Any]]) -> str:
    headers = ["language", "best donor", "chosen", "by loss", "by typology", "by words"]
    body = []
    for code, row in rows.items():
        cells = [
            f"{_short(name)} (+{100 * row['excess'][signal]:.1f} %)" if name else "none"
            for signal, name in row["signals"].items()
        ]
        body.append([code, f"{_short(row['best'])}, {row['after'][row['best']]:.3f}", *cells])
    return tabulate(body, headers, tablefmt="github", disable_numparse=True)


def _short(name: str) -> str:
    return name.partition("-")[0]


def _sizes_table(rows: dict[str, dict[str, Any]]) -> str:
    sizes = ["50 KB", "200 KB", "all"]
    headers = ["language", *(f"{size}: HMR / base" for size in sizes)]
    body = [
        [code, *(f"{row['sizes'][size]['chosen']:.3f} / {row['sizes'][size]['base']:.3f}" for size in sizes)]
        for code, row in rows.items()
    ]
    return tabulate(body, headers, tablefmt="github", disable_numparse=True)


def _verdicts(rows: dict[str, dict[str, Any]]) -> str:
    num = len(rows)
    beats = {
        key: sum(row["arms"]["chosen"] < row["arms"][key] for row in rows.values())
        for key in ("base", "dense", "far", "scratch")
    }
    near = {
        signal: sum((row["excess"][signal] or 0.0) <= NEAR - 1 for row in rows.values() if row["signals"][signal])
        for signal in ("choice", "loss", "typology", "words")
    }
    sizes = {
        size: sum(row["sizes"][size]["chosen"] < row["sizes"][size]["base"] for row in rows.values())
        for size in ("50 KB", "200 KB", "all")
    }
    told = [f"HMR beats {key} on {count} of {num}" for key, count in beats.items()]
    told += [f"donor by {signal} within 2 % of the best on {count} of {num}" for signal, count in near.items()]
    told += [f"with {size} of text HMR beats base on {count} of {num}" for size, count in sizes.items()]
    return "\n".join(f"- {line}" for line in told)


def draw_curves(results: dict[str, Any], rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Learning curves, a panel a language; the steep first part and scratch leave the frame, so that the rest shows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, -(-len(rows) // 2), squeeze=False).flat
    for axis, (code, row) in zip(axes, rows.items(), strict=False):
        starts = {"chosen": row["chosen"], "far": row["far"]} | {k: k for k in ("base", "dense", "scratch")}
        curves = {arm["start"]: arm["curve"] for arm in results["languages"][code]["arms"] if arm["size"] == "all"}
        for role, (label, colour, line) in STYLES.items():
            tokens, bits = zip(*curves[starts[role]], strict=True)
            axis.plot([t / 1000 for t in tokens], bits, line, color=colour, label=label, linewidth=1.6)
        shown = [bits for role in ("chosen", "base", "dense", "far") for _, bits in curves[starts[role]][2:]]
        axis.set_ylim(min(shown) - 0.02, max(shown) + 0.02)
        axis.set_xlim(results["tokens_per_arm"] / 5000, None)
        axis.set_title(f"{name_of(code)}\ndonor {row['chosen']}", fontsize=9)
        axis.grid(alpha=0.3)
    figure.supxlabel("tokens of training (thousands)", fontsize=10)
    figure.supylabel("bits per byte on held-out text", fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(STYLES), frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Date": None})


def draw_sizes(results: dict[str, Any], rows: dict[str, dict[str, Any]], path: Path) -> None:
    """What HMR saves against base at each size of text, a line a language."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for code, row in rows.items():
        sizes = sorted(row["sizes"], key=lambda size: row["bytes"][size])
        gains = [100 * (1 - row["sizes"][size]["chosen"] / row["sizes"][size]["base"]) for size in sizes]
        axis.plot([row["bytes"][size] / 1000 for size in sizes], gains, "o-", label=name_of(code))
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xlabel("training text (KB)")
    axis.set_ylabel("bits per byte saved by HMR against base, %")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
