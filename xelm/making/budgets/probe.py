"""Measure how fast this machine trains a run's models, by a few real steps, and estimate the hours of the training."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from xelm.expert_kinds.kind import ExpertKind
from xelm.making.budgets.budget import Budget
from xelm.making.workspace import Workspace
from xelm.models.base import weights_dtype
from xelm.models.rows import grow
from xelm.run.names import BASE, DENSE, is_base
from xelm.training.loop import step_for_step

_LONG_ENOUGH_S, _FEWEST_STEPS, _MOST_STEPS = 3.0, 3, 20
_NEVER = 10**9


@dataclass(frozen=True)
class Speed:
    """The measurements of the probe on one device."""

    device: str
    tokens_per_s: dict[str, float]
    """Tokens a second for each kind of training (`full`, `lora`, `last_n_layers`)."""
    peak_memory_gib: float | None
    """Peak memory of the device; None unless it is CUDA, which counts it."""
    hours: dict[str, float]
    """Hours of each stage on one such device."""

    def to_text(self) -> str:
        """Lines for the terminal."""
        rates = ", ".join(f"{kind} {rate:,.0f} tokens/s" for kind, rate in self.tokens_per_s.items())
        memory = f", {self.peak_memory_gib:.1f} GiB at the peak" if self.peak_memory_gib is not None else ""
        first = self.hours.get(BASE, 0.0)
        others = [hours for name, hours in self.hours.items() if not is_base(name)]
        return (
            f"measured on {self.device}: {rates}{memory}\n"
            f"about {_duration(first + sum(others))} of training on one such device, "
            f"{_duration(first + max(others))} with one for each model; evaluation comes on top"
        )


def measure_speed(workspace: Workspace) -> Speed:
    """Take a few optimizer steps with a model of the run's size, weights at random, on the run's own blocks.

    Args:
        workspace: A prepared run; nothing is written to it.
    """
    import torch

    budget, makings = workspace.budget, workspace.makings
    kinds = {stage.name: makings.one(stage.name).kind for stage in budget.stages()}
    names = {name: kind.kind for name, kind in kinds.items()}
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    rates = {name: _rate(workspace, kind) for name, kind in sorted({k.kind: k for k in kinds.values()}.items())}
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread(s)"
    return Speed(device, rates, peak, _hours(budget, names, rates))


def _hours(budget: Budget, kinds: dict[str, str], rates: dict[str, float]) -> dict[str, float]:
    return {stage.name: stage.tokens / rates[kinds[stage.name]] / 3600 for stage in budget.stages()}


def _rate(workspace: Workspace, kind: ExpertKind) -> float:
    dtype = weights_dtype(workspace.recipe.base.dtype)
    model = workspace.recipe.objective.auto_class().from_config(workspace.inputs.config, dtype=dtype)
    if workspace.recipe.base.attn_implementation is not None:
        model.set_attn_implementation(workspace.recipe.base.attn_implementation)
    making = workspace.makings.one(DENSE if workspace.budget.dense else next(iter(workspace.plan.clusters)))
    assert making.stage is not None  # only a base that is not trained has none
    model = grow(model, len(making.tokenizer))
    settings = dataclasses.replace(
        making.stage.settings, checkpoint_every_steps=_NEVER, evaluate_every_steps=None, log="files"
    )
    nowhere = making.stage.checkpoints.with_name("none")
    stage = dataclasses.replace(making.stage, name="probe", settings=settings, checkpoints=nowhere, stable=None)
    stage = dataclasses.replace(stage, rows_rate=None)  # there are no first embeddings yet
    ends_s = [time.perf_counter()]
    for loss in step_for_step(kind.make_trainable(model), stage):
        float(loss)  # waits for the device
        ends_s.append(time.perf_counter())
        if len(ends_s) > _MOST_STEPS or (ends_s[-1] - ends_s[0] > _LONG_ENOUGH_S and len(ends_s) > _FEWEST_STEPS):
            break
    # The first step allocates and compiles, so it counts only if there is no other.
    steps_s = np.diff(ends_s)[1:] if len(ends_s) > 2 else np.diff(ends_s)
    return float(stage.tokens_per_step / np.median(steps_s))


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"
