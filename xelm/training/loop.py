"""The training loop, on accelerate.

Ours rather than transformers' Trainer for three reasons: checkpoints without pickle, a resumed run that equals the
undisturbed one to the bit, and blocks that keep documents apart without padding.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import DrawOrder
from xelm.recipe import Train
from xelm.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from xelm.training.isolation import isolates_documents
from xelm.training.schedule import Schedule

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel

_CURVE_POINTS = 100
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One training to be done: the base, an expert or the dense baseline."""

    name: str
    order: DrawOrder
    blocks: Mapping[str, Blocks]
    learning_rate: float
    settings: Train
    checkpoints: Path
    """Folder of its checkpoints while it runs."""

    @property
    def num_steps(self) -> int:
        return len(self.order) // self.settings.batch_size

    def schedule(self) -> Schedule:
        s = self.settings
        return Schedule(
            kind=s.schedule,
            peak=self.learning_rate,
            num_steps=self.num_steps,
            warmup_fraction=s.warmup_fraction,
            min_ratio=s.min_learning_rate_ratio,
        )


@dataclass(frozen=True)
class Trained:
    """What a training leaves beside the weights."""

    history: list[dict[str, float]]
    tokens: int
    isolation: str
    """`attention`: documents of a block did not see each other; `loss`: only their boundaries carry no loss."""


def train_stage(model: PreTrainedModel, stage: Stage, on_log: Callable[[dict[str, Any]], None]) -> Trained:
    """Train `model` in place over the stage's blocks, from its newest checkpoint if there is one.

    Args:
        model: Parameters that require gradients are trained.
        stage: Blocks, order and settings.
        on_log: Called at each point of the curve with step, tokens, loss (nats per token), tokens_per_s.

    Raises:
        BadInput: If the checkpoint there cannot be resumed.
        FloatingPointError: If the loss is no longer a number.
    """
    import torch

    accelerator = _accelerator()
    torch.manual_seed(stage.settings.seed)
    isolated = isolates_documents(model)
    if not isolated:
        logger.warning("%s attends across packed documents; only their boundaries carry no loss.", stage.name)
    if stage.settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = _optimizer(model, stage)
    prepared, optimizer = accelerator.prepare(torch.compile(model) if stage.settings.compile else model, optimizer)
    inner = accelerator.unwrap_model(prepared, keep_torch_compile=False)
    progress = load_checkpoint(stage.checkpoints, inner, optimizer) or Progress()
    prepared.train()
    _run_steps(accelerator, prepared, inner, optimizer, stage, progress, isolated, on_log)
    inner.eval()
    tokens = stage.num_steps * stage.settings.batch_size * _sequence_length(stage)
    return Trained(progress.history, tokens, "attention" if isolated else "loss")


def _run_steps(
    accelerator: Accelerator,
    model: torch.nn.Module,
    inner: torch.nn.Module,
    optimizer: Any,
    stage: Stage,
    progress: Progress,
    isolated: bool,
    on_log: Callable[[dict[str, Any]], None],
) -> None:
    from tqdm import tqdm

    schedule, tokens_per_step = stage.schedule(), stage.settings.batch_size * _sequence_length(stage)
    point_every = max(1, stage.num_steps // _CURVE_POINTS)
    started_s, started_at = time.perf_counter(), progress.step
    bar = tqdm(
        total=stage.num_steps * tokens_per_step,
        initial=progress.step * tokens_per_step,
        desc=stage.name,
        unit="tok",
        unit_scale=True,
        disable=not accelerator.is_local_main_process,
    )
    with bar:
        while progress.step < stage.num_steps:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(progress.step)
            loss = _step(accelerator, model, optimizer, stage, progress.step, isolated)
            progress.step += 1
            # At once, so that no checkpoint ever holds what came of it.
            _refuse_no_number(loss, stage, progress.step)
            progress.loss_sum += loss
            progress.loss_steps += 1
            bar.update(tokens_per_step)
            if progress.step % point_every == 0 or progress.step == stage.num_steps:
                rate = (progress.step - started_at) * tokens_per_step / (time.perf_counter() - started_s)
                point = _point(stage, progress, tokens_per_step)
                bar.set_postfix(loss=f"{point['loss']:.3f}")
                if accelerator.is_main_process:
                    on_log({"stage": stage.name, "num_steps": stage.num_steps, **point, "tokens_per_s": round(rate)})
            unfinished = progress.step < stage.num_steps
            if unfinished and progress.step % stage.settings.checkpoint_every_steps == 0:
                if accelerator.is_main_process:
                    save_checkpoint(stage.checkpoints, inner, optimizer, progress)
                accelerator.wait_for_everyone()


def _refuse_no_number(loss: float, stage: Stage, step: int) -> None:
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"{stage.name}: the loss is {loss} at step {step}. "
            f'Lower the learning rate (now {stage.learning_rate}) or use precision = "fp32".'
        )


def _point(stage: Stage, progress: Progress, tokens_per_step: int) -> dict[str, float]:
    loss = progress.loss_sum / progress.loss_steps
    point = {"step": progress.step, "tokens": progress.step * tokens_per_step, "loss": loss}
    progress.history.append(point)
    progress.loss_sum, progress.loss_steps = 0.0, 0
    return point


def _step(
    accelerator: Accelerator, model: torch.nn.Module, optimizer: Any, stage: Stage, step: int, isolated: bool
) -> float:
    """One optimizer step; the mean loss over its tokens, in nats."""
    import torch

    batches = list(_micro_batches(stage, step, accelerator.process_index, accelerator.num_processes))
    # Every token of the step weighs the same, however the step is cut into micro-batches and processes.
    num_targets = torch.tensor(float(sum((b[1][:, 1:] != 0).sum() for b in batches)), device=accelerator.device)
    # Documents of a single token leave nothing to predict: no loss, rather than 0 / 0.
    num_targets = accelerator.reduce(num_targets, "sum").clamp(min=1)
    total = torch.zeros((), device=accelerator.device)
    bf16 = stage.settings.precision == "bf16"
    autocast = torch.autocast(accelerator.device.type, dtype=torch.bfloat16, enabled=bf16)
    for index, (input_ids, position_ids) in enumerate(batches):
        last = index == len(batches) - 1
        with nullcontext() if last else accelerator.no_sync(model):
            with autocast:
                loss = _summed_loss(model, input_ids, position_ids, isolated, accelerator.device)
            # DDP averages over processes, hence the factor.
            accelerator.backward(loss * accelerator.num_processes / num_targets)
        total += loss.detach()
    accelerator.clip_grad_norm_(model.parameters(), stage.settings.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    return float(accelerator.reduce(total, "sum") / num_targets)


def _summed_loss(
    model: torch.nn.Module,
    input_ids: np.ndarray,
    position_ids: np.ndarray,
    isolated: bool,
    device: torch.device,
) -> torch.Tensor:
    import torch

    ids, positions = torch.from_numpy(input_ids).to(device), torch.from_numpy(position_ids).to(device)
    extra = {"position_ids": positions} if isolated else {}
    logits = model(input_ids=ids, use_cache=False, **extra).logits
    labels = ids[:, 1:].masked_fill(positions[:, 1:] == 0, -100)
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]).float(), labels.reshape(-1), reduction="sum"
    )


def _micro_batches(
    stage: Stage, step: int, process: int, num_processes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    size = stage.settings.batch_size
    mine = np.arange(step * size, (step + 1) * size)[process::num_processes]
    micro = stage.settings.micro_batch_size or len(mine)
    for begin in range(0, len(mine), micro):
        yield _gather(stage, mine[begin : begin + micro])


def _gather(stage: Stage, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shape = (len(draws), _sequence_length(stage))
    input_ids, position_ids = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
    language, block = stage.order.language[draws], stage.order.block[draws]
    for index in np.unique(language):
        rows = language == index
        input_ids[rows], position_ids[rows] = stage.blocks[stage.order.languages[index]].take(block[rows])
    return input_ids, position_ids


def _sequence_length(stage: Stage) -> int:
    return next(iter(stage.blocks.values())).sequence_length


def _accelerator() -> Accelerator:
    from accelerate import Accelerator

    # Its own mixed precision is fixed once for a whole process; ours may differ from one training to the next.
    return Accelerator(mixed_precision="no")


def _optimizer(model: torch.nn.Module, stage: Stage) -> torch.optim.Optimizer:
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": stage.settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.95), fused=True)
