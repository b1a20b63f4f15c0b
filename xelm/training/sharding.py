"""Models whose weights are sharded over the processes that train them (FSDP2, through accelerate)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from clustering.errors import BadInput, arg
from xelm.training.stage import Stage

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

_SETTINGS = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
}
"""Variables that `accelerate launch` sets from a configuration file, used unless the user has set others."""


def ask_for_shards() -> None:
    """Make the accelerators of this process shard models."""
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)


def refuse_unfit(accelerator: Accelerator, stage: Stage) -> None:
    """Refuse settings that cannot be trained here with other processes.

    Raises:
        BadInput: If there are such settings; the message says what to do.
    """
    kind = accelerator.distributed_type.value
    if kind in ("DEEPSPEED", "MEGATRON_LM") or (kind == "FSDP" and not accelerator.is_fsdp2):
        ways = f"{arg('fsdp', True)} (FSDP_VERSION=2), or DDP"
        raise BadInput(f"accelerate is set up for {kind}, which xelm cannot keep: use {ways}.")
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and kind != "FSDP":
        raise BadInput(
            f"{arg('fsdp', True)} needs several processes and a GPU for each: accelerate shares out models there only."
        )
    if kind != "FSDP":
        return
    if stage.settings.compile:
        raise BadInput(f"[train] compile and {arg('fsdp', True)} do not go together; leave one of them out.")
    if stage.settings.optimizer != "adamw":
        name = stage.settings.optimizer
        raise BadInput(f'[train] optimizer = "{name}" needs whole matrices, and {arg("fsdp", True)} shares them out.')
    if accelerator.state.fsdp_plugin.cpu_ram_efficient_loading:
        raise BadInput("FSDP_CPU_RAM_EFFICIENT_LOADING begins with processes that have no weights: set it to false.")


def shard_again(model: torch.nn.Module) -> None:
    """Shard weights again that a forward pass gathered and no backward pass followed; others stay as they are.

    Until then a model's own parameters are gathered copies, not those that the optimizer holds.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A complete tensor in main memory, with the parts of other processes; other tensors are returned unchanged.

    All processes call this for the same tensors, in the same order.
    """
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def part_of(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor, sharded in the same way as another; the tensor itself if that is not sharded."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or value.ndim == 0:
        return value
    # Every process has the complete value, so nothing is sent. It is copied so that the rest can be freed.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None).clone()


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a sharded tensor, to be changed in place; other tensors are returned unchanged."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def own_rows(weight: torch.Tensor) -> torch.Tensor:
    """The numbers of the rows of `own_part` in the whole weight."""
    import torch
    from torch.distributed.tensor import DTensor

    numbers = torch.arange(weight.shape[0], device=weight.device)
    if isinstance(weight, DTensor) and any(placement.is_shard(0) for placement in weight.placements):
        return own_part(part_of(numbers, weight))
    return numbers


def whole_weights(model: torch.nn.Module) -> dict[str, torch.Tensor] | None:
    """All weights of a sharded model, tied ones once; None if it is not sharded. All processes call this."""
    from torch.distributed.tensor import DTensor

    if not any(isinstance(p, DTensor) for p in model.parameters()):
        return None
    weights = {name: whole(p.detach()) for name, p in model.named_parameters()}
    kept = model.state_dict().keys()
    return weights | {name: buffer for name, buffer in model.named_buffers() if name in kept}
