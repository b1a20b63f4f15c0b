"""One arm of the experiment: a start, a text, the same number of tokens for all, and the curve on held-out text."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xelm import ExpertSet, Recipe
from xelm.parts import (
    Blocks,
    Source,
    Stage,
    TokenStore,
    build_store,
    draw_order,
    encode,
    new_model,
    read_heldout,
    token_log_probs,
    train_stage,
)

SCRATCH = "scratch"
CURVE_POINTS = 8
CURVE_BYTES = 12_000


@dataclass(frozen=True)
class Text:
    """A new language's text at one size."""

    code: str
    size: str
    """`50 KB`, `200 KB` or `all`."""
    store: TokenStore
    valid: list[str]
    test: list[str]


@dataclass(frozen=True)
class Arm:
    """What one training came to."""

    language: str
    start: str
    size: str
    tokens: int
    bytes: int
    """Of training text, read once or many times."""
    bits_per_byte: float
    """On the test split, after training."""
    curve: list[tuple[int, float]]
    """(tokens, bits per byte on a part of the valid split); the first point is before any training."""
    seconds: float


def read_text(file: Path, code: str, num_bytes: int | None, work: Path, experts: ExpertSet) -> Text:
    """A language's text with at most `num_bytes` of its training split, tokenised under `work`."""
    recipe, tokenizer = Recipe.from_dict(experts.manifest.recipe), experts.tokenizer()
    size = f"{num_bytes // 1000} KB" if num_bytes else "all"
    part = work / f"{code}-{size.replace(' ', '')}.jsonl"
    if not part.exists():
        _write_part(Source(code, (file,)), num_bytes or 10**12, part)
    store = build_store(part.with_suffix(""), Source(code, (part,)), recipe.data, tokenizer, vocab_size=len(tokenizer))
    rows = read_heldout(store.heldout_file)
    valid, test = ([row.text for row in rows if row.split == split] for split in ("valid", "test"))
    return Text(code, size, store, valid, test)


def _write_part(source: Source, num_bytes: int, part: Path) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    begun = part.with_suffix(".begun")
    with begun.open("w", encoding="utf-8") as out:
        for row in source.rows():
            text = row.text
            if row.split == "train":
                if num_bytes <= 0:
                    continue
                text = text.encode()[:num_bytes].decode("utf-8", errors="ignore")
                num_bytes -= len(text.encode())
            out.write(json.dumps({"text": text, "split": row.split, "id": row.id}, ensure_ascii=False) + "\n")
    begun.rename(part)  # an interruption leaves no half of it


def stage_of(experts: ExpertSet, text: Text, start: str, tokens: int, work: Path) -> Stage:
    """The training of one start: the run's own settings, the same blocks in the same order for every start."""
    recipe = Recipe.from_dict(experts.manifest.recipe)
    settings, length = recipe.train, recipe.train.sequence_length or 256
    if start == SCRATCH:
        # A new model needs the rate that the run's base was trained at.
        settings = dataclasses.replace(settings, learning_rate=recipe.base.new.learning_rate)
    steps = round(tokens / (settings.batch_size * length))
    blocks = {text.code: Blocks(text.store, length)}
    order = draw_order(
        {text.code: len(blocks[text.code])},
        {text.code: 1.0},
        steps * settings.batch_size,
        seed=settings.seed,
        name=f"add-{text.code}",
    )
    return Stage(start, order, blocks, settings.learning_rate, settings, work / "checkpoints")


def run_arm(experts: ExpertSet, text: Text, start: str, tokens: int, work: Path) -> Arm:
    """Train from one start on one text."""
    recipe, stage = Recipe.from_dict(experts.manifest.recipe), stage_of(experts, text, start, tokens, work)
    if start == SCRATCH:
        model = new_model(recipe.base.new, experts.tokenizer(), stage.settings.seed)
    else:
        model = experts.load_model(start)
    curve = [(0, part_of_valid(model, text.valid, experts))]
    started_s = time.perf_counter()
    train_stage(model, stage, _curve_logger(curve, text, model, experts, stage.num_steps))
    elapsed_s = time.perf_counter() - started_s
    bits = bits_per_byte(model, text.test, experts)
    total = stage.num_steps * stage.tokens_per_step
    return Arm(text.code, start, text.size, total, text.store.counts.bytes, bits, curve, round(elapsed_s, 1))


def bits_per_byte(model: Any, texts: list[str], experts: ExpertSet) -> float:
    """Of a model on texts."""
    nats = -sum(float(rows.sum()) for rows in token_log_probs(model, encode(texts, experts.tokenizer())))
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def part_of_valid(model: Any, valid: list[str], experts: ExpertSet) -> float:
    """Bits per byte of the beginning of a language's valid text."""
    part = "\n".join(valid).encode()[:CURVE_BYTES].decode("utf-8", errors="ignore")
    return bits_per_byte(model, [part], experts)


def _curve_logger(
    curve: list[tuple[int, float]], text: Text, model: Any, experts: ExpertSet, steps: int
) -> Callable[[dict[str, Any]], None]:
    every = max(1, steps // CURVE_POINTS)

    def log(point: dict[str, Any]) -> None:
        if point["step"] % every == 0 or point["step"] == steps:
            model.eval()
            curve.append((int(point["tokens"]), part_of_valid(model, text.valid, experts)))
            model.train()

    return log
