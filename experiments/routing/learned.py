"""Weights learned from the run's own losses against weights by language, on text that nothing was learned from.

    python experiments/routing/learned.py runs/progit --data ../shared/data

Works on a copy of a trained run. The weights are learned from its valid text; both ways then route its test text and
sentences of SIB-200 in its languages. Writes learned.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from samples import read

from clustering import match
from xelm import ExpertSet, evaluate_on
from xelm.parts import LearnedWeights, Manifest, save_learned, write_json, write_text

POLICIES = ("top1", "ensemble")


def bits(run: Path, data: str | None) -> dict[str, dict[str, dict[str, float]]]:
    """Routing -> policy -> language -> bits per byte."""
    result = evaluate_on(ExpertSet.load(run), data, policies=POLICIES)
    tables = {"prefix": result.routed, "text": result.routed_by_text}
    return {
        routing: {policy: {code: cell.bits_per_byte for code, cell in table[policy].items()} for policy in POLICIES}
        for routing, table in tables.items()
    }


def change(before: dict[str, float], after: dict[str, float], draws: int = 10_000) -> dict[str, Any]:
    """Change in percent, the mean over languages, with a 95 % interval by drawing languages with replacement."""
    percent = np.array([100 * (after[code] / before[code] - 1) for code in sorted(before)])
    generator = np.random.default_rng(0)
    means = percent[generator.integers(0, len(percent), (draws, len(percent)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "mean": round(float(percent.mean()), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "worst": round(float(percent.max()), 3),
        "best": round(float(percent.min()), 3),
        "languages": len(percent),
    }


def main() -> None:
    """Learn, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a trained run; it is copied")
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--sentences", type=int, default=40, help="of SIB-200, of each language")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(arguments.run, Path(folder) / "run"))
        codes = ExpertSet.load(copy).languages
        for code, texts in read(arguments.data, "sib200", "test").items():
            if (own := match(code, codes)) is not None:
                rows = [json.dumps({"text": text}, ensure_ascii=False) for text in texts[: arguments.sentences]]
                write_text(Path(folder) / "sib200" / f"{own}.jsonl", "\n".join(rows) + "\n")
        places: dict[str, str | None] = {"test text": None, "sib200": str(Path(folder) / "sib200")}
        before = {name: bits(copy, data) for name, data in places.items()}
        manifest = Manifest.read(copy)
        manifest.recipe.setdefault("router", {})["weights"] = "learned"
        manifest.write(copy)
        save_learned(copy)
        learned = LearnedWeights.load(copy / "router")
        assert learned is not None
        gain = {"percent": learned.gain.percent, "standard error": learned.gain.error, "wins": learned.gain.wins}
        # What it would do even where it would not be used.
        forced = dict(json.loads((copy / "router/learned.json").read_text()))
        forced["gain"] |= {"percent": 1.0, "error": 0.0}
        write_json(copy / "router/learned.json", forced)
        after = {name: bits(copy, data) for name, data in places.items()}
    found = {
        name: {
            f"{policy}, {routing}": change(before[name][routing][policy], after[name][routing][policy])
            for policy in POLICIES
            for routing in ("prefix", "text")
        }
        for name in places
    }
    output = {
        "command": f"python experiments/routing/learned.py {arguments.run} --data {arguments.data}",
        "valid documents": learned.gain.documents,
        "by cross-validation on valid documents": gain,
        "change of bits per byte in percent": found,
    }
    write_json(Path(__file__).parent / f"learned-{arguments.run.name}.json", output)
    print(json.dumps(output, indent=1))


if __name__ == "__main__":
    main()
