"""How long a training stands still for its checkpoints, beside another commit of xelm.

    python experiments/throughput/checkpoints.py --other CHECKOUT [--megabytes 500] [--repeats 3] [--folder DIR]

A Llama of four layers whose checkpoint (weights and two moments, fp32) has about the given size takes 36 steps on
random tokens, AdamW, CPU, with a checkpoint after every twelfth; the last step is the end of the training, which has
none. The two commits take turns, each in a process of its own. The time of a step ends when the loop gives it back, so
that of a twelfth step holds what its checkpoint makes it wait. `stands still` is that beside the median step without a
checkpoint; `all steps` shows what a write in the background takes from the steps meanwhile. The checkpoints of the two
are compared to the byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

STEPS, EVERY, LENGTH, WIDTH, VOCABULARY = 36, 12, 128, 512, 8_000
PARAMETER_BYTES = 12
"""A weight and two moments."""


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", type=Path, required=True, help="Checkout of another commit.")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="On the disk that is to be measured; else the system's for files.")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(arguments.one, arguments.megabytes)))
        return 0
    roots = {"ours": Path(__file__).resolve().parents[2], "other": arguments.other.resolve()}
    rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in roots}
    for _ in range(arguments.repeats):
        for way, root in roots.items():
            rounds[way].append(_in_a_process(root, arguments.megabytes, arguments.folder))
            print(way, rounds[way][-1], file=sys.stderr, flush=True)
    for ours, other in zip(*rounds.values(), strict=True):
        assert ours["sha256"] == other["sha256"], "the checkpoints differ"
    figures = {way: {key: round(median(run[key] for run in runs), 2) for key in KEYS} for way, runs in rounds.items()}
    print(f"| | {' | '.join(KEYS)} |\n| --- |{' ---: |' * len(KEYS)}")
    for way, row in figures.items():
        print(f"| {way} | {' | '.join(str(row[key]) for key in KEYS)} |")
    machine = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "load": os.getloadavg()}
    versions = {name: version(name) for name in ("safetensors", "torch", "transformers")}
    output = {**machine, "versions": versions, "figures": figures, "rounds": rounds}
    Path(__file__).with_suffix(".json").write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")
    return 0


KEYS = ("stands still, s a checkpoint", "a step without one, s", "all steps, s", "checkpoint, MB")


def _in_a_process(root: Path, megabytes: int, parent: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        command = [sys.executable, __file__, "--other", ".", "--one", folder, "--megabytes", str(megabytes)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measured(folder: Path, megabytes: int) -> dict[str, Any]:
    """Take the steps, and time them."""
    from xelm.parts import step_for_step

    steps = step_for_step(_model(megabytes), _stage(folder))
    ends_s = [time.perf_counter()]
    for number, loss in enumerate(steps, start=1):
        float(loss)
        ends_s.append(time.perf_counter())
        if number == STEPS:
            break
    steps.close()
    times_s = np.diff(ends_s)
    ends_with_one = np.arange(1, STEPS + 1) % EVERY == 0
    plain_s = float(np.median(times_s[1:][~ends_with_one[1:]]))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = hashlib.sha256()
    for file in files:
        sums.update(file.read_bytes())
    found = (
        float(np.median(times_s[ends_with_one])) - plain_s,
        plain_s,
        time.perf_counter() - ends_s[0],
        sum(file.stat().st_size for file in files) / 1e6,
    )
    return {**dict(zip(KEYS, found, strict=True)), "sha256": sums.hexdigest()}


def _model(megabytes: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    layers = 4
    others = megabytes * 10**6 // PARAMETER_BYTES - VOCABULARY * WIDTH - layers * 4 * WIDTH**2
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=max(WIDTH, others // (layers * 3 * WIDTH)),
        num_hidden_layers=layers,
        num_attention_heads=8,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def _stage(folder: Path) -> Any:
    from xelm.parts import Blocks, LanguageCounts, Stage, TokenStore, Train, draw_order

    number = LENGTH * (STEPS + 1)
    tokens = np.random.default_rng(0).integers(5, VOCABULARY, number).astype(np.uint16)
    store = TokenStore("und", tokens, np.arange(0, number, LENGTH), LanguageCounts(), Path())
    blocks = {"und": Blocks(store, LENGTH)}
    order = draw_order({"und": len(blocks["und"])}, {"und": 1.0}, STEPS + 1, seed=0, name="checkpoints")
    train = Train(tokens=1, batch_size=1, checkpoint_every_steps=EVERY)
    return Stage("checkpoints", order, blocks, 1e-4, train, folder)


if __name__ == "__main__":
    sys.exit(main())
