"""Tokens per second of xelm's training loop, beside transformers' Trainer, in one run on the same model and text.

    python experiments/throughput/measure.py [--repeats 5] [--steps 12] [--out experiments/throughput/results.json]
    python experiments/throughput/measure.py --device cuda [--layers 16 --width 2048]

On a CPU: a small Llama on the starter corpus. Three ways to train it take turns, so that a busy machine slows all
alike: our loop on packed blocks; Trainer on the very same blocks (same tokens, positions, labels, batch, optimizer);
Trainer on padded lines, one document a row, as line-by-line scripts do. All figures are medians over the repeats, of
seconds on the clock and of seconds that the process really had a core (which other work does not lengthen).
On a GPU: only our loop, with a model of 0.5 to 2 B parameters in bf16 and random tokens, in full (weights kept in
float32 or bfloat16) and as LoRA: tokens per second, model FLOPs utilisation, peak memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from xelm.parts import write_json

STARTER = Path(__file__).resolve().parents[2] / "xelm" / "starter"
LANGUAGES = ("deu", "eng", "rus", "tur")
VOCAB_SIZE, LENGTH, BATCH_SIZE = 2000, 256, 8
_PEAK_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40": 181, "4090": 165}
"""Dense bf16, by what the device's name holds."""
_VOCAB_SIZE, _LENGTH, _DOCUMENT = 32_000, 2048, 700
"""Of the large model: tokens of a block and of each document in it."""
_CLOCK = "XELM_THROUGHPUT_STARTED_AT"


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="Optimizer steps of one repeat, warm-up included.")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--micro-batch-size", type=int, default=8)
    parser.add_argument("--peak-tflops", type=float, help="Of the device in bf16, where it is not known here.")
    parser.add_argument("--out", type=Path, help="Write the figures there as JSON.")
    parser.add_argument("--first-step", choices=("ours", "trainer"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if arguments.first_step:
        return _child(arguments.first_step)
    figures = _large(arguments) if arguments.device == "cuda" else _small(arguments)
    if arguments.out:
        write_json(arguments.out, {"command": " ".join(["python", *sys.argv]), **_machine(), **figures})
    return 0


def _machine() -> dict[str, Any]:
    import accelerate
    import torch
    import transformers

    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s)",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, accelerate {accelerate.__version__}",
    }


def _small(arguments: argparse.Namespace) -> dict[str, Any]:
    text = _Text()
    ways: dict[str, Callable[[int], list[_Step]]] = {
        "ours": lambda steps: _ours(text, steps),
        "trainer": lambda steps: _trainer(text, steps, packed=True),
        "lines": lambda steps: _trainer(text, steps, packed=False),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    cpu_rates: dict[str, list[float]] = {name: [] for name in ways}
    outside: dict[str, list[float]] = {"optimizer": [], "loop": []}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            steps = way(arguments.steps)[2:]  # after the warm-up
            tokens = sum(step.tokens for step in steps)
            rates[name].append(tokens / sum(step.wall_s for step in steps))
            cpu_rates[name].append(tokens / sum(step.cpu_s for step in steps))
        for part, share in _shares(text, arguments.steps).items():
            outside[part].append(share)
    first = {way: median(_first_step(way) for _ in range(3)) for way in ("ours", "trainer")}
    figures = {
        "parameters": text.num_parameters,
        "batch_tokens": BATCH_SIZE * LENGTH,
        "tokens_per_s": {name: median(values) for name, values in rates.items()},
        "tokens_per_cpu_s": {name: median(values) for name, values in cpu_rates.items()},
        # Of neighbours in time: what else the machine does then slows both.
        "ours_to_trainer": _ratio(rates["ours"], rates["trainer"]),
        "ours_to_trainer_cpu": _ratio(cpu_rates["ours"], cpu_rates["trainer"]),
        "ours_to_lines": _ratio(rates["ours"], rates["lines"]),
        "ours_to_lines_cpu": _ratio(cpu_rates["ours"], cpu_rates["lines"]),
        "share_outside_passes": {part: median(values) for part, values in outside.items()},
        "first_step_s": first,
        "repeats": {"tokens_per_s": rates, "tokens_per_cpu_s": cpu_rates, "share_outside_passes": outside},
    }
    _print_small(figures)
    return figures


def _ratio(ours: list[float], others: list[float]) -> float:
    return median(a / b for a, b in zip(ours, others, strict=True))


def _print_small(figures: dict[str, Any]) -> None:
    print(f"{figures['parameters']:,} parameters, batches of {BATCH_SIZE} x {LENGTH} tokens; {_machine()}")
    print("| way | tokens/s | tokens/s of a core |\n| --- | ---: | ---: |")
    for name, value in figures["tokens_per_s"].items():
        print(f"| {name} | {value:,.0f} | {figures['tokens_per_cpu_s'][name]:,.0f} |")
    for other, words in (("trainer", "Trainer on the same blocks"), ("lines", "padded lines, in tokens of text")):
        wall, cpu = figures[f"ours_to_{other}"], figures[f"ours_to_{other}_cpu"]
        print(f"ours / {words}, median of the repeats' ratios: {wall:.2f} on the clock, {cpu:.2f} of a core's time")
    shares = (f"{part} {value:.1%}" for part, value in figures["share_outside_passes"].items())
    print(f"outside forward and backward: {', '.join(shares)}")
    first = figures["first_step_s"]
    print(f"process start to the end of the first step: ours {first['ours']:.1f} s, Trainer {first['trainer']:.1f} s")


class _Text:
    """The starter corpus as token stores, and the model that reads it."""

    def __init__(self) -> None:
        from xelm.parts import Blocks, Data, NewBase, build_store, find_sources, new_tokenizer

        self.new = NewBase(tokenizer="bpe", vocab_size=VOCAB_SIZE, hidden_size=256, num_layers=4, context_length=LENGTH)
        data = Data(path=str(STARTER))
        sources = find_sources(data.path, LANGUAGES)
        self.documents = [text for source in sources for text in source.texts()]
        self.tokenizer = new_tokenizer(self.new, self.documents)
        with tempfile.TemporaryDirectory() as folder:
            stores = {
                source.code: build_store(
                    Path(folder) / source.code, source, data, self.tokenizer, vocab_size=len(self.tokenizer)
                )
                for source in sources
            }
            for store in stores.values():  # out of the folder, which goes away
                object.__setattr__(store, "tokens", np.array(store.tokens))
        self.blocks = {code: Blocks(store, LENGTH) for code, store in stores.items()}
        self.num_parameters = sum(p.numel() for p in self.model().parameters())

    def model(self) -> Any:
        from xelm.parts import new_model

        return new_model(self.new, self.tokenizer, seed=0)

    def stage(self, steps: int) -> Any:
        from xelm.parts import Stage, Train, draw_order, sampling_shares

        train = Train(tokens=1, batch_size=BATCH_SIZE, checkpoint_every_steps=10**9)
        sizes = {code: len(blocks) for code, blocks in self.blocks.items()}
        order = draw_order(sizes, sampling_shares(sizes, 1.0), steps * BATCH_SIZE, seed=0, name="throughput")
        return Stage("throughput", order, self.blocks, 1e-3, train, Path("nowhere"))


@dataclass(frozen=True)
class _Step:
    """What one optimizer step took, and the tokens of text it read."""

    wall_s: float
    cpu_s: float
    tokens: int


class _Clock:
    """Takes the time from step to step."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.start()

    def start(self) -> None:
        self.before = time.perf_counter(), time.process_time()

    def step(self, tokens: int) -> None:
        now = time.perf_counter(), time.process_time()
        self.steps.append(_Step(now[0] - self.before[0], now[1] - self.before[1], tokens))
        self.before = now


def _ours(text: _Text, steps: int) -> list[_Step]:
    from xelm.parts import step_for_step

    stage, clock = text.stage(steps), _Clock()
    for _loss in step_for_step(text.model(), stage):
        clock.step(stage.tokens_per_step)
    return clock.steps


def _trainer(text: _Text, steps: int, *, packed: bool) -> list[_Step]:
    """The same under transformers' Trainer: on our blocks, or a document a row, padded to the longest of the batch."""
    from transformers import (
        DataCollatorForLanguageModeling,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        default_data_collator,
    )

    rows = _packed_rows(text, steps) if packed else _padded_rows(text, steps)
    tokens = [sum(row.pop("num_tokens") for row in rows[i : i + BATCH_SIZE]) for i in range(0, len(rows), BATCH_SIZE)]
    clock = _Clock()

    class Callback(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step(tokens[len(clock.steps)])

    collator = default_data_collator if packed else DataCollatorForLanguageModeling(text.tokenizer, mlm=False)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH_SIZE,
            max_steps=steps,
            learning_rate=1e-3,
            adam_beta2=0.95,
            weight_decay=0.1,
            lr_scheduler_type="cosine",
            optim="adamw_torch_fused",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=0,
            train_sampling_strategy="sequential",
        )
        trainer = Trainer(text.model(), settings, train_dataset=rows, data_collator=collator, callbacks=[Callback()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.steps


def _packed_rows(text: _Text, steps: int) -> list[dict[str, Any]]:
    from xelm.parts import gather

    stage = text.stage(steps)
    ids, positions = gather(stage.order, stage.blocks, np.arange(len(stage.order)))
    return [
        {
            "input_ids": row_ids,
            "position_ids": row_positions,
            "labels": np.where(row_positions == 0, -100, row_ids),
            "num_tokens": LENGTH,
        }
        for row_ids, row_positions in zip(ids, positions, strict=True)
    ]


def _padded_rows(text: _Text, steps: int) -> list[dict[str, Any]]:
    order = np.random.default_rng(0).permutation(len(text.documents))
    chosen = [text.documents[index] for index in np.resize(order, steps * BATCH_SIZE)]
    encoded = text.tokenizer(chosen, truncation=True, max_length=LENGTH)["input_ids"]
    return [{"input_ids": ids, "num_tokens": len(ids)} for ids in encoded]


def _shares(text: _Text, steps: int) -> dict[str, float]:
    """Share of our loop's time outside forward and backward: the optimizer's, with clipping, and the rest."""
    from accelerate import Accelerator
    from torch.optim import AdamW

    from xelm.parts import train_stage

    loop = sys.modules[train_stage.__module__]

    seconds = dict.fromkeys(("passes", "optimizer"), 0.0)
    with (
        _timed(loop.Loss, "summed", seconds, "passes"),
        _timed(Accelerator, "backward", seconds, "passes"),
        _timed(AdamW, "step", seconds, "optimizer"),
        _timed(Accelerator, "clip_grad_norm_", seconds, "optimizer"),
    ):
        total = sum(step.wall_s for step in _ours(text, steps))
    optimizer = seconds["optimizer"] / total
    return {"optimizer": optimizer, "loop": 1 - seconds["passes"] / total - optimizer}


@contextmanager
def _timed(owner: Any, name: str, seconds: dict[str, float], part: str) -> Iterator[None]:
    real = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        started_at = time.perf_counter()
        try:
            return real(*arguments, **options)
        finally:
            seconds[part] += time.perf_counter() - started_at

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, real)


def _first_step(way: str) -> float:
    """Seconds from the start of a process to the end of its first step."""
    environment = os.environ | {_CLOCK: str(time.time())}
    command = [sys.executable, __file__, "--first-step", way]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def _child(way: str) -> int:
    text = _Text()
    _ours(text, 1) if way == "ours" else _trainer(text, 1, packed=True)
    print(time.time() - float(os.environ[_CLOCK]))
    return 0


def _large(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers import LlamaConfig

    layers, width = arguments.layers, arguments.width
    config = LlamaConfig(
        vocab_size=_VOCAB_SIZE,
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 256 * 256,
        num_hidden_layers=layers,
        num_attention_heads=width // 128,
        num_key_value_heads=width // 128,
        max_position_embeddings=_LENGTH,
    )
    name = torch.cuda.get_device_name()
    peak = arguments.peak_tflops or next((value for key, value in _PEAK_TFLOPS.items() if key in name), None)
    print(f"{name}, torch {torch.__version__}, {layers} layers of width {width}, {_LENGTH} tokens a block, bf16")
    print("| kind | weights | tokens/s (median) | MFU | peak GiB |\n| --- | --- | ---: | ---: | ---: |")
    rows = []
    for kind, dtype in (("full", "float32"), ("full", "bfloat16"), ("lora", "bfloat16")):
        row = {"kind": kind, "weights": dtype, **_large_rate(config, kind, dtype, arguments, peak)}
        share = f"{row['mfu']:.1%}" if row["mfu"] else "?"
        print(f"| {kind} | {dtype} | {row['tokens_per_s']:,.0f} | {share} | {row['peak_gib']:.1f} |", flush=True)
        rows.append(row)
        gc.collect()
        torch.cuda.empty_cache()
    return {"device": name, "peak_tflops": peak, "rows": rows}


def _large_rate(
    config: Any, kind: Any, dtype: str, arguments: argparse.Namespace, peak: float | None
) -> dict[str, float | None]:
    import torch
    from transformers import AutoModelForCausalLM

    from xelm.parts import ExpertKind, step_for_step

    torch.cuda.reset_peak_memory_stats()
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    parameters = sum(p.numel() for p in model.parameters())
    stage = _random_stage(arguments.micro_batch_size, arguments.steps)
    ends_s = [time.perf_counter()]
    for _loss in step_for_step(ExpertKind.of(kind=kind).prepare(model), stage):
        torch.cuda.synchronize()
        ends_s.append(time.perf_counter())
    rate = stage.tokens_per_step / median(np.diff(ends_s)[2:].tolist())
    flops = _flops_per_token(config, parameters, trained=kind == "full")
    return {
        "parameters": parameters,
        "tokens_per_s": rate,
        "mfu": rate * flops / peak / 1e12 if peak else None,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def _flops_per_token(config: Any, parameters: int, *, trained: bool) -> float:
    """Floating-point operations that a token needs, forward and backward, without what is computed in vain.

    2 a parameter and pass, of which backward has two, or one where weights get no gradient; an embedding looked up
    costs none. Attention: 12 a layer, hidden value and key attended to (Chowdhery et al. 2022, appendix B); a token
    attends to half of its own document on average.
    """
    multiplied = parameters - config.vocab_size * config.hidden_size
    attention = 12 * config.num_hidden_layers * config.hidden_size * _DOCUMENT / 2
    return (6 if trained else 4) * multiplied + attention


def _random_stage(micro_batch_size: int, steps: int) -> Any:
    from xelm.parts import Blocks, LanguageCounts, Stage, TokenStore, Train, draw_order

    batch_size = 2 * micro_batch_size
    tokens = np.random.default_rng(0).integers(0, _VOCAB_SIZE, _LENGTH * batch_size * steps).astype(np.uint16)
    store = TokenStore("und", tokens, np.arange(0, len(tokens), _DOCUMENT), LanguageCounts(), Path())
    blocks = {"und": Blocks(store, _LENGTH)}
    train = Train(
        tokens=1,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        precision="bf16",
        checkpoint_every_steps=10**9,
    )
    order = draw_order({"und": len(blocks["und"])}, {"und": 1.0}, steps * batch_size, seed=0, name="gpu")
    return Stage("gpu", order, blocks, 1e-4, train, Path("nowhere"))


if __name__ == "__main__":
    sys.exit(main())
