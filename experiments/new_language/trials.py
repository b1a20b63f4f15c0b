"""Donors by trial: `xelm add` as it is against every start on all tokens, one language at a time and one after another.

    python -m experiments.new_language.trials --run runs/progit --data ../shared/data/bible --tokens 100000

The regret is measured at equal total tokens: what trials of other starts take is missing from the chosen expert's own
training, and every named start gets all tokens. `--orders` adds several languages after one another, so that experts of
the languages before are among the starts. Run again after an interruption it continues.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.new_language.arms import Text, bits_per_byte, read_text, run_arm
from experiments.new_language.run import NEW_LANGUAGES
from xelm import ExpertSet, add_language
from xelm.parts import read_json, write_json

HERE = Path(__file__).parent


def main() -> None:
    """Measure, print the table and write `trials.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="A finished run without the new languages.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of <code>.jsonl.gz.")
    parser.add_argument("--languages", nargs="+", default=list(NEW_LANGUAGES))
    parser.add_argument("--orders", type=int, default=0, help="How many orders of additions after one another.")
    parser.add_argument("--length", type=int, default=6, help="Languages of an order.")
    parser.add_argument("--tokens", type=int, default=300_000, help="Of each addition, trials and all.")
    parser.add_argument("--work", type=Path, default=Path("runs/trials"), help="Texts, runs and finished arms.")
    parser.add_argument("--out", type=Path, default=HERE / "trials.json")
    options = parser.parse_args()
    rows = [_addition(options.run, code, options, f"alone-{code}") for code in options.languages]
    for number in range(options.orders):
        rows += _order(number, options)
    kept = {"tokens": options.tokens, "run": options.run.name, "rows": rows}
    options.out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(rows))


def _order(number: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Languages added to one copy of the run after one another."""
    codes = random.Random(number).sample(list(options.languages), options.length)
    rows, run = [], options.run
    for place, code in enumerate(codes):
        name = f"order{number}-{place}-{code}"
        rows.append(_addition(run, code, options, name))
        run = options.work / name / "run"
    return rows


def _addition(run: Path, code: str, options: argparse.Namespace, name: str) -> dict[str, Any]:
    """One language added by trial to a copy of a run, and trained from each of its models."""
    place = options.work / name
    text = read_text(options.data / f"{code}.jsonl.gz", code, None, options.work, ExpertSet.load(run))
    chosen = _kept(place / "chosen.json", lambda: _by_trial(run, text, options.tokens, place))
    starts = {
        start: _kept(place / f"{start}.json", lambda start=start: _from(run, text, start, options.tokens, place))
        for start in ExpertSet.load(run).models
    }
    bits = {start: arm["bits_per_byte"] for start, arm in starts.items()}
    best = min(bits, key=lambda start: bits[start])
    return {
        "name": name,
        "language": code,
        "chosen": chosen,
        "starts": bits,
        "best": best,
        "regret_percent": 100 * (chosen["bits_per_byte"] / bits[best] - 1),
        "regret_of_donor_percent": 100 * (bits[chosen["donor"]] / bits[best] - 1),
        "against_base_percent": 100 * (chosen["bits_per_byte"] / bits["base"] - 1),
        "signals_percent": {
            signal: 100 * (bits[start] / bits[best] - 1) for signal, start in chosen["signals"].items() if start
        },
    }


def _by_trial(run: Path, text: Text, tokens: int, place: Path) -> dict[str, Any]:
    target, file = place / "run", place.parent / f"{text.code}-{text.size}.jsonl"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run, target)
    experts = add_language(target, text.code, file, tokens=tokens, believe_label=True)
    line = experts.manifest.ledger[-1]
    own = [c for c in line.candidates if c.name in experts.names]
    shares = {c.name: c.overlap or 0.0 for c in own}
    near = {c.name: c.distance for c in own if c.distance is not None}
    return {
        "donor": line.donor,
        "tokens": line.tokens,
        "trial_tokens": line.trial_tokens,
        "trials": [asdict(trial) for trial in line.trials],
        "signals": {
            "loss": min(own, key=lambda c: c.bits_per_byte).name,
            "typology": min(near, key=lambda name: near[name], default=None),
            "overlap": max(shares, key=lambda name: shares[name]),
        },
        "bits_per_byte": bits_per_byte(experts.load_model(line.expert), text.test, experts),
    }


def _from(run: Path, text: Text, start: str, tokens: int, place: Path) -> dict[str, Any]:
    arm = run_arm(ExpertSet.load(run), text, start, tokens, place / "part")
    shutil.rmtree(place / "part", ignore_errors=True)
    return asdict(arm)


def _kept(file: Path, make: Any) -> dict[str, Any]:
    if not file.is_file():
        write_json(file, make())
    found: dict[str, Any] = read_json(file)
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| addition | best start | tried (tokens) | donor | regret % | of the donor % | against base % |",
        "|---|---|---|---|---:|---:|---:|",
    ]
    for row in rows:
        tried = ", ".join(f"{trial['name']} {trial['tokens'][-1]:,}" for trial in row["chosen"]["trials"])
        lines.append(
            f"| {row['name']} | {row['best']} {row['starts'][row['best']]:.3f} | {tried} | {row['chosen']['donor']} | "
            f"{row['regret_percent']:+.2f} | {row['regret_of_donor_percent']:+.2f} | "
            f"{row['against_base_percent']:+.2f} |"
        )
    for key in ("regret_percent", "regret_of_donor_percent", "against_base_percent"):
        values = [row[key] for row in rows]
        lines.append(f"\n{key}: mean {sum(values) / len(values):+.2f}, worst {max(values):+.2f}")
    for signal in ("loss", "typology", "overlap"):
        values = [row["signals_percent"][signal] for row in rows if signal in row["signals_percent"]]
        if values:
            lines.append(f"\n{signal} alone: mean {sum(values) / len(values):+.2f}, worst {max(values):+.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
