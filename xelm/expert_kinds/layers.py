"""Experts by layer: an expert has its own copies of a few layers; the rest is the base's, frozen and shared.

After DMoE (Li et al. 2025, "Group then Scale: Dynamic Mixture-of-Experts Multilingual Language Model").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clustering.errors import BadInput
from xelm.expert_kinds.kind import ExpertKind, auto_number, expert_kind
from xelm.expert_kinds.last_layers import decoder_layers
from xelm.recipe.parsing import check

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@expert_kind
@dataclass(frozen=True, kw_only=True)
class Layers(ExpertKind):
    """Copies of a few decoder layers."""

    kind: Literal["layers"] = "layers"
    layers: tuple[int, ...] | str = ()
    """For `layers`: the numbers of the decoder layers that an expert has of its own, from 0; or `"auto:N"`, the N
    layers that differ most between clusters after short trainings."""

    shares_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.layers, str):
            auto_number(self.layers, "layers")
            return
        wrong = [number for number in self.layers if number < 0]
        check(not wrong, f"[expert] layers = {list(self.layers)}: layers are counted from 0.")
        check(
            len(set(self.layers)) == len(self.layers), f"[expert] layers = {list(self.layers)}: a layer is named twice."
        )

    @property
    def is_auto(self) -> bool:
        """Whether layers are left to be measured."""
        return isinstance(self.layers, str) or super().is_auto

    def settled(self, differences: Mapping[str, float], moves: Mapping[str, float]) -> dict[str, Any]:
        """The layers that differ most between clusters, if they are left to be measured."""
        found = super().settled(differences, moves)
        if not isinstance(self.layers, str):
            return found
        number, numbered = auto_number(self.layers, "layers"), [layer for layer in differences if layer.isdigit()]
        check(
            number <= len(numbered),
            f'[expert] layers = "{self.layers}", but the model has {len(numbered)} layers.',
        )
        most = sorted(numbered, key=lambda layer: (-differences[layer], int(layer)))[:number]
        return {**found, "layers": tuple(sorted(map(int, most)))}

    def stand_in(self) -> ExpertKind:
        """The first layers in place of those that are left to be measured."""
        if not isinstance(self.layers, str):
            return super().stand_in()
        first = tuple(range(auto_number(self.layers, "layers")))
        return dataclasses.replace(self, layers=first).stand_in()

    def prepare(self, model: PreTrainedModel) -> Any:
        """Freeze everything but the chosen layers."""
        layers, numbers = decoder_layers(model), self._numbers()
        if max(numbers) >= len(layers):
            raise BadInput(
                f"[expert] layers = {numbers}, but the model has {len(layers)} layers: 0 to {len(layers) - 1}."
            )
        model.requires_grad_(False)
        for number in numbers:
            layers[number].requires_grad_(True)
        return model

    def save(self, model: Any, folder: Path, weights: dict[str, torch.Tensor] | None) -> None:
        """Write the chosen layers alone: `layers.safetensors` and `layers.json`. `xelm export` gives a whole model."""
        from router.models.layer_files import write_layers

        write_layers(folder, layers_prefix(model), self._numbers(), weights or model.state_dict())

    @classmethod
    def load(cls, folder: Path, base: Path, load: Callable[[Path], Any], *, trainable: bool = False) -> Any:
        """The base with the expert's layers in place of its own."""
        from router.models.layer_files import read_layers

        model, found = load(base), read_layers(folder)
        layers = decoder_layers(model)
        if found.prefix != layers_prefix(model) or max(found.tensors) >= len(layers):
            raise BadInput(f"{folder}: its layers do not fit {base}.")
        for number, tensors in found.tensors.items():
            try:
                layers[number].load_state_dict(tensors)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise BadInput(f"{folder}: its layers do not fit {base} ({reason}).") from None
        return model

    @classmethod
    def cannot_share(cls, folder: Path) -> str | None:
        """None: every such expert can be served on a shared base."""
        return None

    @classmethod
    def serve(cls, base: Any, folders: Mapping[str, Path | None]) -> Any:
        """A batch of rows of any experts in one pass."""
        from router.models.layer_bank import LayerBank
        from router.models.lora_source import LoraSource

        return LoraSource(LayerBank(base, decoder_layers(base), layers_prefix(base)), folders)

    def _numbers(self) -> list[int]:
        if isinstance(self.layers, str):
            raise BadInput(
                f'[expert] layers = "{self.layers}" is settled when a run is trained; here, name the layers.'
            )
        check(bool(self.layers), '[expert] kind = "layers" needs layers = [...]: which decoder layers, from 0.')
        return sorted(self.layers)


def layers_prefix(model: PreTrainedModel) -> str:
    """The beginning of the names of a model's decoder layers, such as `model.layers`."""
    layers = decoder_layers(model)
    prefix: str = next(name for name, module in model.named_modules() if module is layers)
    return prefix
