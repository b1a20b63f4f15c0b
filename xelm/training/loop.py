"""The training loop, on accelerate.

It replaces transformers' Trainer for three reasons: checkpoints without pickle, a resumed run that equals the
undisturbed one to the bit, and blocks that keep documents apart without padding.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from clustering.progress import show_progress
from xelm.objectives.head import Head, is_chunked
from xelm.objectives.objective import Batch
from xelm.training.anchor import Anchor
from xelm.training.batches import draws_of_step, gather, sequence_length
from xelm.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from xelm.training.memory import memory_failure_reported
from xelm.training.random_state import random_states
from xelm.training.sharding import refuse_unfit, shard_again, whole
from xelm.training.stage import Stage, Trained

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel

_CURVE_POINTS = 100
_VALID_BLOCKS = 16
logger = logging.getLogger(__name__)


def train_stage(model: PreTrainedModel, stage: Stage, on_log: Callable[[dict[str, Any]], None]) -> Trained:
    """Train `model` in place over the stage's blocks, from its newest checkpoint if there is one.

    Args:
        model: The model, of which the parameters that require gradients are trained.
        stage: Blocks, order and settings.
        on_log: Called at each point of the curve with step, tokens, loss (nats per token), tokens_per_s.

    Returns:
        What it did; for a stage that pauses before its end, a checkpoint is left to continue from.

    Raises:
        BadInput: If its checkpoint cannot be resumed.
        FloatingPointError: If loss, gradient or weights are no longer numbers.
        MemoryError: If the device's memory is too small; the message names settings that need less.
    """
    with memory_failure_reported(model, stage):
        training = _begin(model, stage, on_log)
        for _loss in training.steps():
            pass
    training.inner.eval()
    for tracker in training.accelerator.trackers:
        tracker.finish()
    return Trained(
        training.progress.history,
        stage.last_step * stage.tokens_per_step,
        "attention" if training.loss.isolated else "loss",
        training.progress.evaluations,
    )


def step_for_step(model: PreTrainedModel, stage: Stage) -> Iterator[float]:
    """Do as `train_stage`, but yield the loss after each step, so that a caller can look at the model in between."""
    with memory_failure_reported(model, stage):
        yield from _begin(model, stage, lambda point: None).steps()


def _begin(model: PreTrainedModel, stage: Stage, on_log: Callable[[dict[str, Any]], None]) -> _Training:
    import torch

    accelerator = _accelerator(stage)
    if stage.settings.batch_size % accelerator.num_processes:
        raise BadInput(
            f"[train] batch_size={stage.settings.batch_size} cannot be shared by {accelerator.num_processes} processes."
        )
    refuse_unfit(accelerator, stage)
    # With dropout, processes that train together must not drop the same units.
    torch.manual_seed(stage.settings.seed + accelerator.process_index)
    if not accelerator.is_fsdp2:  # FSDP2 moves only this process's part to the device
        model.to(accelerator.device)
    isolated = stage.batches.isolates(model)
    if not isolated:
        logger.warning("%s attends across packed documents; only their boundaries carry no loss.", stage.name)
    head = _head(model, stage, accelerator.num_processes)
    if stage.settings.gradient_checkpointing:
        _save_activations(model)
    optimizer = _optimizer(model, stage)
    prepared, optimizer = accelerator.prepare(torch.compile(model) if stage.settings.compile else model, optimizer)
    inner = accelerator.unwrap_model(prepared, keep_torch_compile=False)
    anchor = Anchor.of(inner, stage.anchor)  # before a checkpoint is loaded
    progress = load_checkpoint(stage.checkpoints, inner, optimizer) or Progress()
    prepared.train()
    return _Training(accelerator, prepared, inner, optimizer, anchor, stage, progress, _Loss(isolated, head), on_log)


@dataclass
class _Training:
    """A training in progress."""

    accelerator: Accelerator
    model: torch.nn.Module
    """The model as accelerate wraps it."""
    inner: torch.nn.Module
    optimizer: Any
    anchor: Anchor
    stage: Stage
    progress: Progress
    loss: _Loss
    on_log: Callable[[dict[str, Any]], None]

    def steps(self) -> Iterator[float]:
        """Take all remaining steps and yield the loss of each."""
        stage, progress, schedule = self.stage, self.progress, self.stage.schedule()
        point_every = max(1, stage.num_steps // _CURVE_POINTS)
        started_s, started_at = time.perf_counter(), progress.step
        bar = show_progress(
            total=stage.last_step * stage.tokens_per_step,
            initial=progress.step * stage.tokens_per_step,
            desc=stage.name,
            unit="tok",
            unit_scale=True,
            disable=not self.accelerator.is_local_main_process,
        )
        with bar:
            while progress.step < stage.last_step:
                for group in self.optimizer.param_groups:
                    group["lr"] = schedule.rate(progress.step)
                loss = _step(self.accelerator, self.model, self.optimizer, stage, progress.step, self.loss)
                self.anchor.pull(schedule.rate(progress.step))
                progress.step += 1
                # Refuse it at once, so that no checkpoint holds weights that follow from it.
                _refuse_no_number(loss, stage, progress.step)
                progress.loss_sum += loss
                progress.loss_steps += 1
                bar.update(stage.tokens_per_step)
                if progress.step % point_every == 0 or progress.step == stage.num_steps:
                    rate = (progress.step - started_at) * stage.tokens_per_step / (time.perf_counter() - started_s)
                    point = _point(progress, stage.tokens_per_step)
                    bar.set_postfix(loss=f"{point['loss']:.3f}")
                    self._log({**point, "tokens_per_s": round(rate)})
                self._evaluate()
                self._checkpoint()
                yield loss
        if stage.last_step == stage.num_steps:
            self._refuse_broken()

    def _evaluate(self) -> None:
        every, step = self.stage.settings.evaluate_every_steps, self.progress.step
        if not (every and self.stage.valid and (step % every == 0 or step == self.stage.num_steps)):
            return
        # Sharded weights need all processes for a computation.
        if self.accelerator.is_main_process or self.accelerator.is_fsdp2:
            losses = valid_losses(self.inner, self.stage, self.loss, self.accelerator.device)
            shard_again(self.inner)
            point = {"step": step, "tokens": step * self.stage.tokens_per_step, "valid_loss": losses}
            self.progress.evaluations.append(point)
            self._log(point)
        self.accelerator.wait_for_everyone()

    def _refuse_broken(self) -> None:
        """After the last step, which no loss follows, refuse weights that are no numbers or give no numbers."""
        import torch

        self._refuse_broken_weights()
        last = np.arange(self.stage.num_steps - 1, self.stage.num_steps) * self.stage.settings.batch_size
        batch = self.stage.batches.batch(*gather(self.stage.order, self.stage.blocks, last), last, 0.0)
        self.inner.eval()
        with torch.no_grad(), _autocast(self.stage, self.accelerator.device):
            loss = self.loss.summed(batch, self.inner, self.accelerator.device)
        shard_again(self.inner)
        _refuse_no_number(float(loss), self.stage, self.progress.step, "the loss after the last step")

    def _refuse_broken_weights(self) -> None:
        import torch

        trained = [whole(p.detach()) for p in self.inner.parameters() if p.requires_grad]
        broken = sum(int((~torch.isfinite(p)).sum()) for p in trained)
        if broken:
            what = f"{broken} weights are no numbers after step {self.progress.step}"
            raise FloatingPointError(f"{self.stage.name}: {what}. {_way_out(self.stage)}")

    def _checkpoint(self) -> None:
        stage, step = self.stage, self.progress.step
        due = step % stage.settings.checkpoint_every_steps == 0 or step == stage.last_step
        if step < stage.num_steps and due:
            self._refuse_broken_weights()
            self.progress.random = random_states(self.accelerator.device)
            save_checkpoint(stage.checkpoints, self.inner, self.optimizer, self.progress)
            self.accelerator.wait_for_everyone()

    def _log(self, point: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.on_log({"stage": self.stage.name, "num_steps": self.stage.num_steps, **point})
        values: dict[str, float] = {key: point[key] for key in ("loss", "tokens_per_s") if key in point}
        values |= {f"valid_loss/{code}": loss for code, loss in point.get("valid_loss", {}).items()}
        self.accelerator.log(values, step=self.progress.step)


@dataclass(frozen=True)
class _Loss:
    """How the loss of a batch is computed."""

    isolated: bool
    """Whether the model keeps the documents of a block apart by their positions."""
    head: Head | None
    """The head that gives losses; None: they are computed from logits."""

    def summed(self, batch: Batch, model: torch.nn.Module, device: torch.device) -> torch.Tensor:
        options: dict[str, Any] = {"head": self.head} if self.head else {}
        return batch.summed_loss(model, isolated=self.isolated, device=device, **options)


def _head(model: PreTrainedModel, stage: Stage, num_processes: int) -> Head | None:
    """The head of a model whose loss is computed in chunks."""
    settings, blocks = stage.settings, stage.settings.batch_size // num_processes
    vocab_size = model.config.get_text_config().vocab_size
    positions = (settings.micro_batch_size or blocks) * sequence_length(stage.blocks)
    if not is_chunked(settings.loss, positions=positions, vocab_size=vocab_size):
        return None
    head = Head.of(model) if stage.batches.takes_head else None
    if head is None:
        what = "something acts on its logits, or its head is no plain linear layer"
        what = what if stage.batches.takes_head else f'objective = "{settings.objective}" needs them'
        logger.warning("%s: the loss is computed from all logits, which takes more memory: %s.", stage.name, what)
    return head


def valid_losses(model: torch.nn.Module, stage: Stage, loss: _Loss, device: torch.device) -> dict[str, float]:
    """Mean loss on the first held-out blocks of each language, in nats per target, always over the same targets."""
    import torch

    was_training, losses = model.training, {}
    model.eval()
    for code, blocks in stage.valid.items():
        total, targets = 0.0, 0
        for index in range(min(len(blocks), _VALID_BLOCKS)):
            draws = np.array([index])
            batch = stage.batches.batch(*blocks.take(draws), draws, 0.0)
            with torch.no_grad(), _autocast(stage, device):
                total += float(loss.summed(batch, model, device))
            targets += batch.num_targets
        losses[code] = total / max(1, targets)
    model.train(was_training)
    return losses


def _refuse_no_number(value: float, stage: Stage, step: int, what: str = "the loss") -> None:
    if not np.isfinite(value):
        raise FloatingPointError(f"{stage.name}: {what} is {value} at step {step}. {_way_out(stage)}")


def _way_out(stage: Stage) -> str:
    return f'Lower the learning rate (now {stage.learning_rate}) or use precision = "fp32".'


def _point(progress: Progress, tokens_per_step: int) -> dict[str, float]:
    loss = progress.loss_sum / progress.loss_steps
    point = {"step": progress.step, "tokens": progress.step * tokens_per_step, "loss": loss}
    progress.history.append(point)
    progress.loss_sum, progress.loss_steps = 0.0, 0
    return point


def _step(
    accelerator: Accelerator, model: torch.nn.Module, optimizer: Any, stage: Stage, step: int, loss: _Loss
) -> float:
    """One optimizer step; the mean loss over its targets, in nats."""
    import torch

    batches = _batches(stage, step, accelerator.process_index, accelerator.num_processes)
    # Every target of the step has the same weight, however the step is divided into micro-batches and processes.
    num_targets = torch.tensor(float(sum(batch.num_targets for batch in batches)), device=accelerator.device)
    # Documents of a single token have nothing to predict: then there is no loss, rather than 0 / 0.
    num_targets = accelerator.reduce(num_targets, "sum").clamp(min=1)
    total = torch.zeros((), device=accelerator.device)
    for index, batch in enumerate(batches):
        last = index == len(batches) - 1
        with nullcontext() if last else accelerator.no_sync(model):
            with _autocast(stage, accelerator.device):
                summed = loss.summed(batch, model, accelerator.device)
            # DDP averages over processes, hence the factor.
            accelerator.backward(summed * accelerator.num_processes / num_targets)
        total += summed.detach()
    mean = float(accelerator.reduce(total, "sum") / num_targets)
    _refuse_no_number(mean, stage, step + 1)
    norm = accelerator.clip_grad_norm_(model.parameters(), stage.settings.clip_norm)
    if norm is not None:
        _refuse_no_number(float(whole(norm)), stage, step + 1, "the gradient's norm")
    optimizer.step()
    optimizer.zero_grad()
    return mean


def _batches(stage: Stage, step: int, process: int, num_processes: int) -> list[Batch]:
    settings, done = stage.settings, step / stage.num_steps
    draws = draws_of_step(step, settings.batch_size, settings.micro_batch_size, process, num_processes)
    return [stage.batches.batch(*gather(stage.order, stage.blocks, mine), mine, done) for mine in draws]


def _autocast(stage: Stage, device: torch.device) -> Any:
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=stage.settings.precision == "bf16")


def _accelerator(stage: Stage) -> Accelerator:
    from accelerate import Accelerator

    log = None if stage.settings.log == "files" or stage.log_folder is None else stage.settings.log
    # accelerate fixes mixed precision once for a process; here it may differ from one training to the next.
    accelerator = Accelerator(mixed_precision="no", log_with=log, project_dir=stage.log_folder)
    if log:
        accelerator.init_trackers(stage.name)
        if not accelerator.trackers:  # accelerate leaves out what is not installed
            raise BadInput(f'[train] log = "{log}" needs a package that is not here. Install it: pip install {log}.')
    return accelerator


def _optimizer(model: torch.nn.Module, stage: Stage) -> torch.optim.Optimizer:
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": stage.settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.95), fused=True)


def _save_activations(model: Any) -> None:
    """Compute activations again instead of keeping them; transformers 6 drops the older of the two names."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
