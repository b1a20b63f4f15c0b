"""Report a device whose memory is too small for a training, with the settings that need less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xelm.training.processes import processes
from xelm.training.stage import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def memory_failure_reported(model: PreTrainedModel, stage: Stage) -> Iterator[None]:
    """Turn torch's error of a full memory into one sentence.

    Raises:
        MemoryError: The message names the model, the device, and settings that need less.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        place = f"the GPU ({model.device})" if isinstance(error, torch.OutOfMemoryError) else "this machine"
        raise MemoryError(
            f"{stage.name}: the memory of {place} is too small for this training. {_remedy(stage)}"
        ) from error


def _remedy(stage: Stage) -> str:
    """Settings of the engine alone: they do not change the model, so no finished work is lost."""
    settings = stage.settings
    micro = settings.micro_batch_size or settings.batch_size // processes().num_processes
    smaller = next((size for size in range(micro // 2, 0, -1) if settings.batch_size % size == 0), None)
    ways = ['loss = "chunks"'] if settings.loss == "logits" else []
    ways += [f"micro_batch_size = {smaller} (now {micro})"] if smaller else []
    if not settings.gradient_checkpointing:
        ways.append("gradient_checkpointing = true")
    if settings.precision != "bf16":
        ways.append('precision = "bf16"')
    if ways:
        return f"Set, in this order: [train] {', '.join(ways)}. The training resumes from its last checkpoint."
    return (
        "No setting of the engine needs less: use a device with more memory, or share the model out "
        "over several processes (the options processes and fsdp)."
    )
