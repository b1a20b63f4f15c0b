"""Mid-training checkpoints in safetensors and JSON: weights, optimizer moments, random state, history."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from clustering.files import atomic_write, read_json, write_json
from xelm.training.processes import processes
from xelm.training.random_state import RandomState, set_random_state
from xelm.training.sharding import part_of

if TYPE_CHECKING:
    import torch

    from xelm.training.saving.copies import State

logger = logging.getLogger(__name__)
_STATE, _WEIGHTS, _MOMENTS = "state.json", "weights.safetensors", "optimizer.safetensors"


@dataclass
class Progress:
    """The progress of a training."""

    step: int = 0
    """Optimizer steps taken."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Points of the training curve: `step`, `tokens`, `loss` (nats per token, mean since the last point)."""
    loss_sum: float = 0.0
    loss_steps: int = 0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """Losses on held-out text: `step`, `tokens`, `valid_loss` {language: nats per token}."""
    random: list[RandomState] = field(default_factory=list)
    """Random state of each process when the checkpoint was written."""


def save_checkpoint(folder: Path, state: State) -> None:
    """Write a complete `folder/step-N` of a state; the first of the processes that train together does."""
    from safetensors.torch import save_file

    with atomic_write(folder / checkpoint_name(state.progress["step"])) as partial:
        partial.mkdir()
        save_file(state.weights, partial / _WEIGHTS)
        save_file(state.moments, partial / _MOMENTS)
        write_json(partial / _STATE, state.progress)


def keep_newest(folder: Path, number: int) -> None:
    """Remove all checkpoints but the newest; called after one is written, so that there is one at every moment."""
    for old in _checkpoints(folder)[:-number]:
        shutil.rmtree(old)


def checkpoint_name(step: int) -> str:
    """Name of the folder of a checkpoint."""
    return f"step-{step:08d}"


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint of a folder; None if there is none."""
    checkpoints = _checkpoints(folder)
    return int(checkpoints[-1].name.removeprefix("step-")) if checkpoints else None


def load_checkpoint(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
    """Load the newest checkpoint of `folder` into model, optimizer and random state; None if there is none.

    Of several, one that cannot be read is passed over, with a warning, for the one before it.

    Raises:
        BadInput: If no checkpoint can be read, or they belong to another model.
    """
    checkpoints = _checkpoints(folder)
    for checkpoint in reversed(checkpoints):
        try:
            return _load(checkpoint, model, optimizer)
        except BadInput as error:
            if checkpoint == checkpoints[0]:
                raise
            logger.warning("%s Until then it goes on from the checkpoint before it.", error)
    return None


def _load(checkpoint: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state, weights = read_json(checkpoint / _STATE), load_file(checkpoint / _WEIGHTS)
        moments: dict[str, dict[str, torch.Tensor]] = {}
        for path, value in load_file(checkpoint / _MOMENTS).items():
            moments.setdefault(path.rpartition("/")[0], {})[path.rpartition("/")[2]] = value
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(part_of(weights[name], p))
                optimizer.state[p] = {k: _moment(k, value, p) for k, value in moments[name].items()}
        # In this form it was written when only the first process kept its state.
        state["random"] = [{"cpu": state.pop("torch_rng")}] if "torch_rng" in state else state["random"]
        progress = Progress(**state)
        set_random_state(progress.random, processes().process_index, next(model.parameters()).device)
        return progress
    except (SafetensorError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise BadInput(
            f"{checkpoint}: this checkpoint cannot be resumed ({error}). Remove {checkpoint.parent} to begin this part "
            "again."
        ) from None


def _moment(key: str, value: torch.Tensor, parameter: torch.nn.Parameter) -> torch.Tensor | int:
    """What an optimizer keeps of a parameter: its part of a tensor, or a whole number."""
    if value.ndim == 0 and not value.is_floating_point():
        return int(value)
    # What has another shape, as the scales of 8 bits have, is never sharded.
    return part_of(value.to(_home(key, parameter)), parameter)


def _home(key: str, parameter: torch.nn.Parameter) -> torch.device | str:
    # A fused AdamW keeps its step counter beside the parameter; the plain one reads it on the CPU.
    return parameter.device if key != "step" or parameter.is_cuda else "cpu"


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if p.is_dir()) if folder.is_dir() else []
