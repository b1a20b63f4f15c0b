"""What a checkpoint holds, copied to main memory, so that the training can go on while it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xelm.training.checkpoint import Progress
from xelm.training.processes import processes
from xelm.training.saving.free_memory import free_bytes
from xelm.training.sharding import whole

if TYPE_CHECKING:
    import torch

_MOST_OF_FREE = 0.5
"""Share of the free main memory that a copy may take."""


@dataclass(frozen=True)
class State:
    """Weights, moments and progress of a training at one step."""

    weights: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]
    progress: dict[str, Any]
    apart: bool
    """Whether they are a copy; if not, the training must wait until they are written."""
    ready: Callable[[], None]
    """Waits until a GPU has copied everything; called before anything is read."""


def state_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> State | None:
    """The state of a training now, as a copy where main memory has room for one.

    All processes that train together call this, since sharded tensors are gathered.

    Returns:
        Complete tensors, even of a sharded model, in the first process; None in the others.
    """
    import torch

    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    moments = {
        # bitsandbytes counts steps in a whole number of Python.
        f"{name}/{key}": torch.tensor(value) if isinstance(value, int) else value.detach()
        for name, p in model.named_parameters()
        if p in optimizer.state
        for key, value in optimizer.state[p].items()
    }
    apart = 0 < sum(value.nbytes for value in (weights | moments).values()) <= _MOST_OF_FREE * free_bytes()
    first = processes().is_main_process
    take = _copied if first and apart else _as_it_is
    state = [{name: take(value) for name, value in part.items()} for part in (weights, moments)]
    return State(state[0], state[1], asdict(progress), apart, _waiting_for_copies()) if first else None


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return whole(tensor).contiguous()


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    full = whole(tensor)
    if full.device.type == "cpu" and tensor.device.type != "cpu":
        return full.contiguous()  # gathered for this call, so it is a copy already
    pinned = full.device.type == "cuda"  # a GPU copies to other memory only while the program waits
    copy = torch.empty(full.shape, dtype=full.dtype, pin_memory=pinned)
    return copy.copy_(full, non_blocking=pinned)


def _waiting_for_copies() -> Callable[[], None]:
    """What waits for the copies asked for until now. Later steps of the GPU come after these by themselves."""
    import torch

    if not torch.cuda.is_available():
        return lambda: None
    event = torch.cuda.Event()
    event.record()
    return event.synchronize
