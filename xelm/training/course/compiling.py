"""Compile what a model repeats, its layers, one by one: all of them share what was compiled for the first.

A whole model is traced anew for every depth, a layer only once. What was compiled is kept on disk for the next time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def compile_layers(model: torch.nn.Module) -> None:
    """Compile the layers of a model in place (`torch.nn.Module.compile`); names and weights stay as they are."""
    for layer in _repeated(model):
        layer.compile()


def _repeated(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The members of lists of modules of one class, without what repeats within them."""
    import torch

    members = list(module.children())
    if isinstance(module, torch.nn.ModuleList) and len({type(member) for member in members}) == 1:
        yield from members
        return
    for member in members:
        yield from _repeated(member)
