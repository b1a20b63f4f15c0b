"""One optimizer step, without waiting for the device: its loss and the norm of its gradient stay there."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xelm.objectives.head import Head, is_chunked
from xelm.objectives.objective import Batch
from xelm.training.batches import draws_of_step, sequence_length
from xelm.training.sharding import whole
from xelm.training.stage import Stage

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loss:
    """How the loss of a batch is computed."""

    isolated: bool
    """Whether the model keeps the documents of a block apart by their positions."""
    head: Head | None
    """The head that gives losses; None: they are computed from logits."""

    def summed(self, batch: Batch, model: torch.nn.Module, device: torch.device) -> torch.Tensor:
        """The loss over all targets of a batch, in nats."""
        options: dict[str, Any] = {"head": self.head} if self.head else {}
        return batch.summed_loss(model, isolated=self.isolated, device=device, **options)


def head_for(model: PreTrainedModel, stage: Stage, num_processes: int) -> Head | None:
    """The head of a model whose loss is computed in chunks; None if it is computed from logits."""
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


def batches_of(stage: Stage, step: int, process: int, num_processes: int) -> list[Batch]:
    """The batches that one process reads in a step, one for each pass."""
    settings, done = stage.settings, step / stage.num_steps
    draws = draws_of_step(step, settings.batch_size, settings.micro_batch_size, process, num_processes)
    return [stage.batch(mine, done) for mine in draws]


def make_gradients(
    accelerator: Accelerator, model: torch.nn.Module, batches: list[Batch], stage: Stage, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradients of a step, clipped.

    Returns:
        The mean loss over the step's targets, in nats, and the gradient's norm before it was clipped (None where
        accelerate does not give it); both on the device.
    """
    import torch

    device = accelerator.device
    # Every target of the step has the same weight, however the step is divided into micro-batches and processes.
    num_targets = torch.full((), float(sum(batch.num_targets for batch in batches)), device=device)
    # Documents of a single token have nothing to predict: then there is no loss, rather than 0 / 0.
    num_targets = accelerator.reduce(num_targets, "sum").clamp(min=1)
    total = torch.zeros((), device=device)
    for index, batch in enumerate(batches):
        last = index == len(batches) - 1
        with nullcontext() if last else accelerator.no_sync(model):
            with autocast(stage, device):
                summed = loss.summed(batch, model, device)
            # DDP averages over processes, hence the factor.
            accelerator.backward(summed * accelerator.num_processes / num_targets)
        total += summed.detach()
    mean = accelerator.reduce(total, "sum") / num_targets
    norm = accelerator.clip_grad_norm_(model.parameters(), stage.settings.clip_norm)
    return mean, None if norm is None else whole(norm.detach())


def autocast(stage: Stage, device: torch.device) -> Any:
    """The precision of a stage's forward passes, as a context."""
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=stage.settings.precision == "bf16")
