"""A pull of the weights to where a training starts (L2-SP: Li et al. 2018), so that it forgets less.

Like the weight decay of AdamW it is taken beside the gradient, and only its centre is another: after each step,
`w = w - rate * strength * (w - start)`. So it does not depend on the loss's scale, on clipping or on the moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xelm.models.layer_groups import selects

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Anchor:
    """Trained weights that are pulled, where each started, and how strongly."""

    held: list[tuple[torch.nn.Parameter, torch.Tensor, float]]

    @classmethod
    def of(cls, model: torch.nn.Module, strengths: Mapping[str, float]) -> Anchor:
        """Hold a model's trained weights as they are now, before any step or checkpoint.

        Args:
            model: The model.
            strengths: Selector -> strength; of several that name a weight the last one counts. Empty: none is held.
        """
        held = []
        for name, parameter in model.named_parameters():
            found = [value for selector, value in strengths.items() if selects(selector, name)]
            if parameter.requires_grad and found and found[-1] > 0:
                held.append((parameter, parameter.detach().clone(), found[-1]))
        return cls(held)

    def pull(self, rate: float) -> None:
        """Take the pull of one step of a learning rate."""
        import torch

        with torch.no_grad():
            for parameter, start, strength in self.held:
                parameter.add_(start - parameter, alpha=min(1.0, rate * strength))
