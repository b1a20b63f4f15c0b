"""Rows of the vocabulary that stay where a training starts: those of pieces that its text does not contain.

Nothing is learnt in them, and still every step pushes the scores of all pieces that do not come next down. They are set
back after each step, whatever the optimizer did to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xelm.models.rows import num_rows, row_weights
from xelm.training.sharding import own_part, own_rows
from xelm.training.stage import Stage

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class HeldRows:
    """Weights with a row for each piece, the rows that are held, and their first values."""

    held: list[tuple[torch.nn.Parameter, torch.Tensor, torch.Tensor]]

    @classmethod
    def of(cls, model: PreTrainedModel, stage: Stage) -> HeldRows:
        """Hold rows as they are now, before any step or checkpoint; none if the stage does not ask for it."""
        if not stage.hold_unread:
            return cls([])
        import torch

        size = num_rows(model.config)
        read = frozenset(stage.batches.adds).union(*(blocks.store.pieces() for blocks in stage.blocks.values()))
        unread = torch.ones(size, dtype=torch.bool)
        unread[[piece for piece in read if piece < size]] = False
        held = []
        for weight in row_weights(model, size):
            numbers = own_rows(weight)
            own = torch.nonzero(unread.to(numbers.device)[numbers]).flatten()
            held.append((weight, own, own_part(weight).detach()[own].clone()))
        return cls(held)

    def restore(self) -> None:
        """Set the rows back."""
        import torch

        with torch.no_grad():
            for weight, own, start in self.held:
                own_part(weight).index_copy_(0, own, start)
