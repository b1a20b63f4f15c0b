"""The training loop, on accelerate.

It replaces transformers' Trainer for three reasons: checkpoints without pickle, a resumed run that equals the
undisturbed one to the bit, and blocks that keep documents apart without padding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from clustering.progress import show_progress
from xelm.objectives.objective import Batch
from xelm.training.anchor import Anchor
from xelm.training.batches import ahead, pinned
from xelm.training.checkpoint import Progress, load_checkpoint
from xelm.training.course.compiling import compile_layers
from xelm.training.course.stable import begun, ends_stable_phase, tell
from xelm.training.held_rows import HeldRows
from xelm.training.memory import memory_failure_reported
from xelm.training.random_state import random_states
from xelm.training.readings import Readings, Speed, refuse_no_number, way_out
from xelm.training.saving.writer import Writer
from xelm.training.sharding import refuse_unfit, shard_again, whole
from xelm.training.stage import Stage, Trained
from xelm.training.step import Loss, autocast, batches_of, head_for, make_gradients

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel

_CURVE_POINTS = 100
_VALID_BLOCKS = 16
_TRACKED = ("loss", "gradient_norm", "learning_rate", "tokens_per_s", "mfu", "peak_memory_gib")
logger = logging.getLogger(__name__)


def train_stage(model: PreTrainedModel, stage: Stage, on_log: Callable[[dict[str, Any]], None]) -> Trained:
    """Train `model` in place over the stage's blocks, from its newest checkpoint if there is one.

    Args:
        model: The model, of which the parameters that require gradients are trained.
        stage: Blocks, order and settings.
        on_log: Called at each point of the curve with step, tokens, loss (nats per token), gradient_norm and loss as
            means since the last point, learning_rate, and what `Speed.measured` gives. Only there, and where a
            checkpoint is due, the device is waited for.

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
        training.went_on,
    )


def step_for_step(model: PreTrainedModel, stage: Stage) -> Generator[torch.Tensor, None, None]:
    """Do as `train_stage`, but yield the loss after each step, so that a caller can look at the model in between.

    The loss is on the device, which may still be at work on it: `float(loss)` waits. Checkpoints are written meanwhile:
    the last one is whole when this is exhausted or closed.
    """
    with memory_failure_reported(model, stage):
        yield from _begin(model, stage, lambda point: None).steps()


def _begin(model: PreTrainedModel, stage: Stage, on_log: Callable[[dict[str, Any]], None]) -> _Training:
    import torch

    from xelm.training.course.optimizers import make_optimizer

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
    # These look at a model by running it, and flash attention runs in half precision only.
    flash = "flash" in str(getattr(model.config, "_attn_implementation", ""))
    with autocast(stage, accelerator.device) if flash else nullcontext():
        isolated = stage.batches.isolates(model)
        head = head_for(model, stage, accelerator.num_processes)
    if not isolated:
        logger.warning("%s attends across packed documents; only their boundaries carry no loss.", stage.name)
    if stage.settings.gradient_checkpointing:
        _save_activations(model)
    rows_rate = None if stage.rows_rate is None else stage.rows_rate()
    optimizer = make_optimizer(model, stage.settings, stage.learning_rate, rows_rate=rows_rate)
    if stage.settings.compile:
        compile_layers(model)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    inner = accelerator.unwrap_model(prepared)
    anchor, held = Anchor.of(inner, stage.anchor), HeldRows.of(inner, stage)  # before a checkpoint is loaded
    progress, went_on = _progress(stage, inner, optimizer)
    prepared.train()
    return _Training(
        accelerator, prepared, inner, optimizer, anchor, held, stage, progress, Loss(isolated, head), on_log, went_on
    )


def _progress(stage: Stage, model: torch.nn.Module, optimizer: Any) -> tuple[Progress, dict[str, int] | None]:
    """Where a training goes on: at its own checkpoint, else at that of a shorter one, else at its beginning."""
    found = begun(stage)
    shorter = found.before(stage) if found else None
    went_on = {"step": shorter.step, "warmup_steps": shorter.warmup_steps} if shorter else None
    if progress := load_checkpoint(stage.checkpoints, model, optimizer):
        return progress, went_on
    if stage.stable is None or found is None:
        return Progress(), None
    tell(stage, found.parts[-1])
    return load_checkpoint(stage.stable, model, optimizer) or Progress(), went_on


@dataclass
class _Training:
    """A training in progress."""

    accelerator: Accelerator
    model: torch.nn.Module
    """The model as accelerate wraps it."""
    inner: torch.nn.Module
    optimizer: Any
    anchor: Anchor
    held: HeldRows
    stage: Stage
    progress: Progress
    loss: Loss
    on_log: Callable[[dict[str, Any]], None]
    went_on: dict[str, int] | None = None
    """As in `Trained`."""

    def steps(self) -> Iterator[torch.Tensor]:
        """Take all remaining steps and yield the loss of each, on the device."""
        stage, progress, device = self.stage, self.progress, self.accelerator.device
        readings = Readings(stage, progress)
        speed = Speed.of(stage, self.inner, progress.step, device, self.accelerator.num_processes)
        bar = show_progress(
            total=stage.last_step * stage.tokens_per_step,
            initial=progress.step * stage.tokens_per_step,
            desc=stage.name,
            unit="tok",
            unit_scale=True,
            disable=not self.accelerator.is_local_main_process,
        )
        steps = range(progress.step, stage.last_step)
        with bar, Writer(stage) as writer, closing(ahead(self._prepare, steps)) as prepared:
            for batches in prepared:
                rate = stage.schedule().rate(progress.step)
                loss = self._take_step(batches, rate, readings)
                bar.update(stage.tokens_per_step)
                if self._is_point(progress.step):
                    point = readings.point()
                    bar.set_postfix(loss=f"{point['loss']:.3f}")
                    more = {**readings.mean_norm(), "learning_rate": rate, **speed.measured(progress.step, device)}
                    self._log({**point, **more})
                self._evaluate()
                self._checkpoint(writer)
                yield loss
        # What the first process wrote may be read next by all.
        self.accelerator.wait_for_everyone()
        if stage.last_step == stage.num_steps:
            self._refuse_broken()

    def _prepare(self, step: int) -> list[Batch]:
        accelerator = self.accelerator
        batches = batches_of(self.stage, step, accelerator.process_index, accelerator.num_processes)
        return [pinned(batch) for batch in batches] if accelerator.device.type == "cuda" else batches

    def _take_step(self, batches: list[Batch], rate: float, readings: Readings) -> torch.Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1.0)
        loss, norm = make_gradients(self.accelerator, self.model, batches, self.stage, self.loss)
        step = self.progress.step + 1
        readings.add(step, loss, norm)
        if self._is_point(step) or self._is_checkpoint(step):
            readings.read()  # before the step is taken, so that no checkpoint holds what follows from no number
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.anchor.pull(rate)
        self.held.restore()
        self.progress.step = step
        return loss

    def _is_point(self, step: int) -> bool:
        return step % max(1, self.stage.num_steps // _CURVE_POINTS) == 0 or step == self.stage.num_steps

    def _is_checkpoint(self, step: int) -> bool:
        due = step % self.stage.settings.checkpoint_every_steps == 0 or step == self.stage.last_step
        return step < self.stage.num_steps and (due or ends_stable_phase(self.stage, step))

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
        batch = self.stage.batch(last, 0.0)
        self.inner.eval()
        with torch.no_grad(), autocast(self.stage, self.accelerator.device):
            loss = self.loss.summed(batch, self.inner, self.accelerator.device)
        shard_again(self.inner)
        refuse_no_number(float(loss), self.stage, self.progress.step, "the loss after the last step")

    def _refuse_broken_weights(self) -> None:
        import torch

        trained = [whole(p.detach()) for p in self.inner.parameters() if p.requires_grad]
        broken = int(sum((~torch.isfinite(p)).sum() for p in trained))  # one wait for the device
        if broken:
            what = f"{broken} weights are no numbers after step {self.progress.step}"
            raise FloatingPointError(f"{self.stage.name}: {what}. {way_out(self.stage)}")

    def _checkpoint(self, writer: Writer) -> None:
        writer.raise_failure()
        if self._is_checkpoint(self.progress.step):
            self._refuse_broken_weights()
            self.progress.random = random_states(self.accelerator.device)
            writer.save(self.inner, self.optimizer, self.progress)

    def _log(self, point: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.on_log({"stage": self.stage.name, "num_steps": self.stage.num_steps, **point})
        values: dict[str, float] = {key: point[key] for key in _TRACKED if key in point}
        values |= {f"valid_loss/{code}": loss for code, loss in point.get("valid_loss", {}).items()}
        self.accelerator.log(values, step=self.progress.step)


def valid_losses(model: torch.nn.Module, stage: Stage, loss: Loss, device: torch.device) -> dict[str, float]:
    """Mean loss on the first held-out blocks of each language, in nats per target, always over the same targets."""
    import torch

    was_training, losses = model.training, {}
    model.eval()
    for code, blocks in stage.valid.items():
        total, targets = 0.0, 0
        for index in range(min(len(blocks), _VALID_BLOCKS)):
            draws = np.array([index])
            batch = stage.valid_batch(code, draws)
            with torch.no_grad(), autocast(stage, device):
                total += float(loss.summed(batch, model, device))
            targets += batch.num_targets
        losses[code] = total / max(1, targets)
    model.train(was_training)
    return losses


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


def _save_activations(model: Any) -> None:
    """Compute activations again instead of keeping them; transformers 6 drops the older of the two names."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
