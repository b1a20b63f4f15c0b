"""Turning a base into an expert: all weights, low-rank adapters, or the last layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from xelm.recipe.recipe import Expert

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def as_expert(model: PreTrainedModel, expert: Expert) -> Any:
    """Choose what of `model` trains, in place (a LoRA expert comes back wrapped by peft).

    Raises:
        BadInput: If the model has no decoder layers to choose from, or LoRA finds no module to adapt.
    """
    if expert.kind == "lora":
        return _with_lora(model, expert)
    if expert.kind == "last_n_layers":
        _train_last_layers(model, expert.num_last_layers)
    return model


def _with_lora(model: PreTrainedModel, expert: Expert) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=expert.rank,
        lora_alpha=expert.alpha,
        target_modules=list(expert.targets) if expert.targets else "all-linear",
        task_type="CAUSAL_LM" if model.can_generate() else None,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise BadInput(f"[expert] targets do not fit this model: {error}") from None


def _train_last_layers(model: PreTrainedModel, num_layers: int) -> None:
    layers = _decoder_layers(model)
    if num_layers > len(layers):
        raise BadInput(f"[expert] num_last_layers={num_layers}, but the model has {len(layers)} layers.")
    after = _parameters_after(model, layers[-1])
    model.requires_grad_(False)
    for parameter in [*after, *(p for layer in layers[-num_layers:] for p in layer.parameters())]:
        parameter.requires_grad_(True)


def _parameters_after(model: PreTrainedModel, layer: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The final norm, head and whatever else an architecture has after its last layer (a tied head: the embedding).

    Found by what the output hangs on once the layer's own is cut off: names and order differ between architectures.
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


def _decoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    import torch

    lists = [m for m in model.base_model.modules() if isinstance(m, torch.nn.ModuleList)]
    if not lists:
        raise BadInput(f'{type(model).__name__} has no list of layers: use [expert] kind = "full" or "lora".')
    return max(lists, key=len)
