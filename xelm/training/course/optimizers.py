"""Optimizers by name: AdamW for all weights, or Muon for the matrices inside the layers and AdamW for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from xelm.models.rows import row_matrices
from xelm.training.course.eight_bits import of_eight_bits

if TYPE_CHECKING:
    from xelm.recipe.recipe import Train


def make_optimizer(
    model: Any, settings: Train, learning_rate: float, *, rows_rate: float | None = None
) -> torch.optim.Optimizer:
    """The optimizer of a model's trained weights.

    Args:
        model: A transformers model, perhaps with adapters.
        settings: The `[train]` section: optimizer, betas and weight decay, which norms and biases never have.
        learning_rate: The first one; the loop sets it for each step, times `times` of a group that has it.
        rows_rate: The learning rate of the vocabulary's rows, where some were never trained; None: as the rest.

    Raises:
        BadInput: If the optimizer's package is not installed, or does not run on the model's device.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    inner = _inner_matrices(model, trained) if settings.optimizer == "muon" else []
    of_muon = {id(p) for p in inner}
    rows = [] if rows_rate is None else row_matrices(model)
    apart = of_muon | {id(p) for p in rows}
    others = [p for p in trained.values() if id(p) not in apart]
    groups = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
    ]
    if rows_rate is not None:
        times = rows_rate / learning_rate
        # AdamW takes the decay times the learning rate, and rows decay as the rest.
        groups.append({"params": rows, "weight_decay": settings.weight_decay / times, "times": times})
    first, second = settings.betas
    if settings.optimizer == "adamw8bit":
        return of_eight_bits([g for g in groups if g["params"]], learning_rate, (first, second))
    if not inner:
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(first, second), fused=True)
    adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, betas=(first, second), fused=True)
    # In this form it takes the learning rates and the weight decay of AdamW (Liu et al. 2025).
    muon = torch.optim.Muon(inner, lr=learning_rate, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw")
    return _Both(muon, adamw)


class _Both(torch.optim.Optimizer):
    """Two optimizers of different weights as one: their groups and their state are its own."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._parts = [(part, len(part.param_groups)) for part in parts]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # a closure has no place in this loop
        """One step of each."""
        groups = list(self.param_groups)
        for part, number in self._parts:
            # accelerate loads groups and state anew, so they are handed on each time.
            part.param_groups, groups = groups[:number], groups[number:]
            part.state = self.state
            part.step()


def _inner_matrices(model: Any, trained: dict[str, torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """The trained matrices of layers; embeddings and head are none, and are AdamW's (Jordan et al. 2024)."""
    ends = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    ends |= {id(p) for p in head.parameters()} if head is not None else set()
    return [p for p in trained.values() if p.ndim == 2 and id(p) not in ends]
