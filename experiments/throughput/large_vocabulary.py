"""Memory and time of a step with a large vocabulary: without logits, with them, and under transformers' Trainer.

    python experiments/throughput/large_vocabulary.py [--repeats 3] [--steps 2] [--out FILE]

Two models, their weights at random, on random tokens, 2 blocks of 1,024 positions a step, AdamW, fp32, CPU: a causal
one of 128,000 tokens (Llama, 4 layers of width 512) and a masked one of the shape of multilingual e5-small (XLM-R, 12
layers of width 384, 250,037 pieces), heads tied to embeddings. Three ways take turns, each in a process of its own.
Memory is the peak above the idle process (everything imported, no model yet), so it holds parameters, gradients and
moments. Time is that of a step after the first, on the clock and in seconds that the process really had a core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from xelm.parts import package_versions, write_json

WAYS, MODELS = ("chunks", "logits", "trainer"), ("causal", "masked")
BLOCKS, LENGTH, VOCABULARY = 2, 1024, {"causal": 128_000, "masked": 250_037}
MASK_RATE = 0.3
Mark = tuple[float, float]
"""Seconds on the clock, and seconds that the process had a core."""


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="Timed steps after a first one; 0: that one.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--out", type=Path, help="Write the figures there as JSON.")
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_measured(*arguments.one, arguments.steps)))
        return 0
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {name: {way: [] for way in WAYS} for name in arguments.models}
    for _ in range(arguments.repeats):
        for name in arguments.models:
            for way in WAYS:
                rounds[name][way].append(_in_a_process(name, way, arguments.steps))
                print(name, way, rounds[name][way][-1], file=sys.stderr, flush=True)
    figures = {name: _summary(ways) for name, ways in rounds.items()}
    _print(figures)
    if arguments.out:
        machine = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": package_versions()}
        write_json(arguments.out, machine | {"models": figures, "rounds": rounds})
    return 0


def _in_a_process(name: str, way: str, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, way, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _summary(ways: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    keys = ("peak_mib", "wall_s", "cpu_s")
    found: dict[str, Any] = {way: {key: median(run[key] for run in runs) for key in keys} for way, runs in ways.items()}
    for other in WAYS[1:]:
        pairs = list(zip(ways["chunks"], ways[other], strict=True))
        found[f"chunks_to_{other}"] = {key: median(ours[key] / theirs[key] for ours, theirs in pairs) for key in keys}
    found["loss_difference"] = max(
        abs(ours["losses"][0] - theirs["losses"][0])
        for ours, theirs in zip(ways["chunks"], ways["logits"], strict=True)
    )
    return found


def _print(figures: dict[str, Any]) -> None:
    print("| model | way | peak MiB | s a step | core's s |\n| --- | --- | ---: | ---: | ---: |")
    for name, found in figures.items():
        for way in WAYS:
            row = found[way]
            print(f"| {name} | {way} | {row['peak_mib']:,.0f} | {row['wall_s']:.1f} | {row['cpu_s']:.1f} |")
        for other in WAYS[1:]:
            row = found[f"chunks_to_{other}"]
            shares = f"{row['peak_mib']:.0%} | {row['wall_s']:.0%} | {row['cpu_s']:.0%}"
            print(f"| {name} | chunks / {other} | {shares} |")


def _measured(name: str, way: str, steps: int) -> dict[str, Any]:
    """Peak memory above the idle process, and median seconds of a step after the first."""
    import torch
    import transformers
    from accelerate import Accelerator

    torch.set_num_threads(1)
    assert transformers.Trainer is not None and Accelerator is not None  # imported, so that idle counts them
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    idle = _status_mib("VmRSS")
    ends, losses = (_trainer if way == "trainer" else _ours)(name, way, steps + 1)
    spent = np.diff(np.array(ends), axis=0)[min(steps, 1) :]
    wall_s, cpu_s = np.median(spent, axis=0).tolist()
    return {"peak_mib": _status_mib("VmHWM") - idle, "wall_s": wall_s, "cpu_s": cpu_s, "losses": losses}


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def _model(name: str) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, XLMRobertaConfig, XLMRobertaForMaskedLM

    torch.manual_seed(0)
    if name == "causal":
        sizes = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4, "num_attention_heads": 8}
        return LlamaForCausalLM(
            LlamaConfig(vocab_size=VOCABULARY[name], max_position_embeddings=LENGTH, tie_word_embeddings=True, **sizes)
        )
    sizes = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 12}
    positions = {"max_position_embeddings": LENGTH + 2, "type_vocab_size": 1}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=VOCABULARY[name], **sizes, **positions, **dropout))


def _stage(name: str, loss: Any, steps: int) -> Any:
    from dataclasses import replace

    from xelm.parts import Blocks, LanguageCounts, MaskedBatches, Stage, TokenStore, Train, draw_order

    number = LENGTH * BLOCKS * steps
    tokens = np.random.default_rng(0).integers(5, VOCABULARY[name], number).astype(np.uint32)
    store = TokenStore("und", tokens, np.arange(0, number, LENGTH), LanguageCounts(), Path())
    blocks = {"und": Blocks(store, LENGTH)}
    order = draw_order({"und": len(blocks["und"])}, {"und": 1.0}, steps * BLOCKS, seed=0, name="large")
    train = Train(tokens=1, batch_size=BLOCKS, loss=loss, checkpoint_every_steps=10**9)
    stage = Stage("large", order, blocks, 1e-4, train, Path("nowhere"))
    if name == "causal":
        return stage
    return replace(stage, batches=MaskedBatches(4, VOCABULARY[name], (0, 1, 2, 3, 4), (MASK_RATE,), seed=0))


def _ours(name: str, way: str, steps: int) -> tuple[list[Mark], list[float]]:
    from xelm.parts import step_for_step

    model, losses = _model(name), []
    ends = [_now()]
    for loss in step_for_step(model, _stage(name, way, steps)):
        losses.append(float(loss))
        ends.append(_now())
    return ends, losses


def _trainer(name: str, way: str, steps: int) -> tuple[list[Mark], list[float]]:
    """The same blocks and labels under transformers' Trainer, at its defaults but for the optimizer's settings."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, default_data_collator

    model, ends = _model(name), list[Mark]()

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            ends.append(_now())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(_now())

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BLOCKS,
            max_steps=steps,
            learning_rate=1e-4,
            adam_beta2=0.95,
            weight_decay=0.1,
            lr_scheduler_type="cosine",
            optim="adamw_torch_fused",
            save_strategy="no",
            logging_strategy="steps",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=0,
            train_sampling_strategy="sequential",
        )
        rows = _rows(name, steps)
        collator: Any = default_data_collator
        trainer = Trainer(model, settings, train_dataset=rows, data_collator=collator, callbacks=[Callback()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return ends, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _now() -> Mark:
    return time.perf_counter(), time.process_time()


def _rows(name: str, steps: int) -> list[dict[str, Any]]:
    from xelm.parts import gather

    stage = _stage(name, "logits", steps)
    draws = np.arange(len(stage.order))
    ids, positions = gather(stage.order, stage.blocks, draws)
    batch = stage.batches.batch(ids, positions, draws, 0.0)
    if name == "causal":  # Trainer's models shift the labels themselves
        return [
            {"input_ids": row, "position_ids": place, "labels": row} for row, place in zip(ids, positions, strict=True)
        ]
    return [{"input_ids": row, "labels": labels} for row, labels in zip(batch.input_ids, batch.labels, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
