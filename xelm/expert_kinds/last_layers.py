"""Experts whose last layers train, with the final norm and the head; they are saved as whole models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from clustering.errors import BadInput
from xelm.expert_kinds.kind import ExpertKind, expert_kind, first_identity
from xelm.recipe.parsing import check

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@expert_kind
@dataclass(frozen=True, kw_only=True)
class LastLayers(ExpertKind):
    """The last layers of a copy."""

    kind: Literal["last_n_layers"] = "last_n_layers"
    num_last_layers: int = 2
    """For `last_n_layers`: decoder layers that train, the final norm and head with them."""

    def __post_init__(self) -> None:
        check(self.num_last_layers >= 1, f"[expert] num_last_layers={self.num_last_layers} must be at least 1.")

    def identity(self) -> dict[str, Any]:
        """The settings for fingerprints, in the same form as in earlier versions."""
        return first_identity(self)

    def prepare(self, model: PreTrainedModel) -> Any:
        """Freeze all weights before the last layers."""
        layers = self._of(model)
        after = _parameters_after(model, layers[-1])
        model.requires_grad_(False)
        for parameter in [*after, *(p for layer in layers for p in layer.parameters())]:
            parameter.requires_grad_(True)
        return model

    def trained_parameters(self, model: PreTrainedModel) -> int:
        """The last layers and the head; the norm between them is left out, which a model without memory cannot show."""
        head = model.get_output_embeddings()
        parts = [*self._of(model), *([head] if head is not None else [])]
        return sum(p.numel() for part in parts for p in part.parameters())

    def _of(self, model: PreTrainedModel) -> list[torch.nn.Module]:
        layers = decoder_layers(model)
        if self.num_last_layers > len(layers):
            raise BadInput(f"[expert] num_last_layers={self.num_last_layers}, but the model has {len(layers)} layers.")
        return list(layers[-self.num_last_layers :])


def decoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The list of a model's layers.

    Raises:
        BadInput: If it has no such list.
    """
    import torch

    lists = [m for m in model.base_model.modules() if isinstance(m, torch.nn.ModuleList)]
    if not lists:
        raise BadInput(f'{type(model).__name__} has no list of layers: use [expert] kind = "full" or "lora".')
    return max(lists, key=len)


def _parameters_after(model: PreTrainedModel, layer: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The final norm, head and whatever else an architecture has after its last layer (a tied head: the embedding).

    They are found by what the output depends on without the layers, since names and order differ between architectures.
    """
    import torch

    def cut(_layer: Any, _inputs: Any, output: Any) -> Any:
        return (output[0].detach(), *output[1:]) if isinstance(output, tuple) else output.detach()

    parameters = list(model.parameters())
    handle = layer.register_forward_hook(cut)
    try:
        output = model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=model.device), use_cache=False)
    finally:
        handle.remove()
    gradients = torch.autograd.grad(output.logits.float().sum(), parameters, allow_unused=True)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
