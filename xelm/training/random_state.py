"""The state of torch's random numbers in the processes that train one model, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

RandomState = dict[str, str]
"""The state of one process: `cpu`, and `cuda` (its own device) if it trains there; states in hexadecimal."""


def random_states(device: torch.device) -> list[RandomState]:
    """The states of all processes, by rank. All of them call this."""
    import torch
    from accelerate.utils import gather_object

    mine = {"cpu": _hex(torch.get_rng_state())}
    if device.type == "cuda":
        mine["cuda"] = _hex(torch.cuda.get_rng_state(device))
    states: list[RandomState] = gather_object([mine])
    return states


def set_random_state(states: list[RandomState], rank: int, device: torch.device) -> None:
    """Continue from the state that this process had.

    If there is none, because there were fewer processes or another kind of device, the seeded state is kept.

    Raises:
        ValueError: If a state is damaged.
    """
    import torch

    if rank >= len(states):
        return
    torch.set_rng_state(_bytes(states[rank]["cpu"]))
    if device.type == "cuda" and "cuda" in states[rank]:
        torch.cuda.set_rng_state(_bytes(states[rank]["cuda"]), device)


def _hex(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _bytes(text: str) -> torch.Tensor:
    import torch

    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
