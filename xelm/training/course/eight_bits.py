"""AdamW whose moments take 8 bits, as bitsandbytes has it (Dettmers et al. 2022)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput

if TYPE_CHECKING:
    import torch

_DEVICES = ("cpu", "cuda", "xpu")


def check_optimizer(name: str) -> None:
    """Check that the package of `[train] optimizer` is installed.

    Raises:
        BadInput: If it is not; the message holds the command that installs it.
    """
    if name == "adamw8bit" and find_spec("bitsandbytes") is None:
        way = "Install it: pip install 'bitsandbytes>=0.50'"
        raise BadInput(f'[train] optimizer = "{name}" needs a package that is not here. {way}.')


def of_eight_bits(
    groups: list[dict[str, Any]], learning_rate: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """The optimizer of some groups of weights, none of them empty; small weights keep moments of 32 bits.

    Raises:
        BadInput: If the package is not installed, or does not run on the device of the weights.
    """
    check_optimizer("adamw8bit")
    device = groups[0]["params"][0].device.type
    if device not in _DEVICES:
        raise BadInput(f'[train] optimizer = "adamw8bit" does not run on this device ({device}): use "adamw".')
    from bitsandbytes.optim import AdamW8bit

    found: torch.optim.Optimizer = AdamW8bit(groups, lr=learning_rate, betas=betas)
    return found
