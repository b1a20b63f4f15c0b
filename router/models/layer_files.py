"""The files of an expert by layer: the tensors of its own layers, and the numbers and prefix of these layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clustering.errors import BadInput
from clustering.files import read_json, write_json

if TYPE_CHECKING:
    import torch

CONFIG_FILE, TENSOR_FILE = "layers.json", "layers.safetensors"
_FORMAT = "xelm-layers"


@dataclass(frozen=True)
class ExpertLayers:
    """Layers that an expert has of its own."""

    prefix: str
    """The beginning of the names of the base's layers, such as `model.layers`."""
    tensors: dict[int, dict[str, torch.Tensor]]
    """Number of a layer -> its tensors by their names inside the layer."""


def read_layers(folder: Path) -> ExpertLayers:
    """Read an expert's layers.

    Raises:
        BadInput: If a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config, numbers = read_json(folder / CONFIG_FILE), list[int]()
    if not isinstance(config, dict) or config.get("format") != _FORMAT or not isinstance(config.get("prefix"), str):
        raise BadInput(f"{folder / CONFIG_FILE}: does not describe an expert by layer.")
    try:
        tensors = load_file(folder / TENSOR_FILE)
        numbers = sorted({int(number) for number in config["layers"]})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{folder}: the layers of the expert cannot be read ({error}).") from None
    found: dict[int, dict[str, torch.Tensor]] = {number: {} for number in numbers}
    for name, tensor in tensors.items():
        number, _, rest = name.removeprefix(f"{config['prefix']}.").partition(".")
        if not number.isdigit() or int(number) not in found:
            raise BadInput(f"{folder / TENSOR_FILE}: the tensor {name} is of no layer that {CONFIG_FILE} names.")
        found[int(number)][rest] = tensor
    if not found or not all(found.values()):
        raise BadInput(f"{folder}: {CONFIG_FILE} names layers that {TENSOR_FILE} lacks.")
    return ExpertLayers(config["prefix"], found)


def write_layers(folder: Path, prefix: str, numbers: list[int], weights: dict[str, torch.Tensor]) -> None:
    """Write the layers of these numbers out of a model's weights."""
    from safetensors.torch import save_file

    starts = tuple(f"{prefix}.{number}." for number in numbers)
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items() if name.startswith(starts)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(own, folder / TENSOR_FILE, metadata={"format": "pt"})
    write_json(folder / CONFIG_FILE, {"format": _FORMAT, "prefix": prefix, "layers": numbers})
