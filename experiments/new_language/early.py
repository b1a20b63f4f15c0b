"""How early the starts of an addition stand as at the end, in large steps and in small ones.

    python -m experiments.new_language.early --run runs/bible --data ../shared/data/bible --trials trials.json

Takes the starts that were tried for each language, and what each came to on all tokens, from what
`experiments.new_language.trials` wrote. Trains each for a few steps, in steps as the recipe has them and in steps of
one block, reads it on valid text, and asks who leads: by how much is that start worse than the best one in the end?
Prints a table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.new_language.arms import Text, part_of_valid, read_text, stage_of
from xelm import ExpertSet
from xelm.parts import train_stage

LOOKS = {"the recipe's": (0, 1, 2, 4), "one block": (4, 8, 16, 32)}


def readings(experts: ExpertSet, text: Text, start: str, tokens: int) -> Iterator[tuple[tuple[str, int], float]]:
    """(size of the steps, tokens read) -> bits per byte of valid text."""
    for size, looks in LOOKS.items():
        with tempfile.TemporaryDirectory() as folder:
            stage = stage_of(experts, text, start, tokens, Path(folder))
            stage = stage.in_small_steps(1) if size == "one block" else stage
            for look in looks:
                model: Any = experts.load_model(start, trainable=True)
                if look:
                    train_stage(model, replace(stage, pause_at=look), lambda point: None)
                yield (size, look * stage.tokens_per_step), part_of_valid(model.eval(), text.valid, experts)


def main() -> None:
    """Read all, and print for each reading the regret of the start that leads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="Folder of <code>.jsonl.gz.")
    parser.add_argument("--trials", type=Path, required=True, help="From experiments.new_language.trials.")
    parser.add_argument("--work", type=Path, default=Path("runs/early"), help="Tokenised texts.")
    options = parser.parse_args()
    experts, found = ExpertSet.load(options.run), json.loads(options.trials.read_text(encoding="utf-8"))
    regrets: dict[tuple[str, int], list[float]] = {}
    for row in found["rows"]:
        if not row["name"].startswith("alone-"):
            continue
        code, ends = row["language"], row["starts"]
        text = read_text(options.data / f"{code}.jsonl.gz", code, None, options.work, experts)
        read = {
            trial["name"]: dict(readings(experts, text, trial["name"], found["tokens"]))
            for trial in row["chosen"]["trials"]
        }
        for at in next(iter(read.values())):
            leader = min(read, key=lambda start: read[start][at])
            regrets.setdefault(at, []).append(100 * (ends[leader] / min(ends.values()) - 1))
        print(code, flush=True)
    print("| steps | tokens of a start | regret of the leader %, mean | worst |\n|---|---:|---:|---:|")
    for (size, tokens), values in regrets.items():
        print(f"| {size} | {tokens:,} | {sum(values) / len(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
