"""Sizes of and cosines between the updates of branches (weights after training minus before), by layer.

Where two languages pull the weights the same way, they compete for them or help each other; either way it shows
without reading any text. An adapter's update is the product of its two factors, which is never made whole:
<B1 A1, B2 A2> = sum((B1' B2) * (A1 A2')). Shape letters: L branches, P weights of one tensor, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clustering.files import read_json
from xelm.models.layer_groups import layer_of, layer_order

_CHUNK = 2**20


@dataclass(frozen=True)
class Updates:
    """How L branches moved the weights.

    Attributes:
        cosines: Cosines of all updates with one another, over all weights, shape (L, L). A branch that moved nothing
            has cosine 0 with the others and 1 with itself.
        layer_cosines: The same by layer (`embedding`, `0`, `1`, …, `other`).
        layer_sizes: Length of each update in each layer against that of the base's weights, shape (L,); of adapters,
            the length alone.
    """

    cosines: np.ndarray
    layer_cosines: dict[str, np.ndarray]
    layer_sizes: dict[str, np.ndarray]


def compare_updates(base: Path, branches: Sequence[Path]) -> Updates:
    """Compare the updates of all branches.

    Args:
        base: Folder of the base model.
        branches: Folders of the L branches, full models or adapters.

    """
    adapters = (branches[0] / "adapter_model.safetensors").is_file()
    products: dict[str, np.ndarray] = {}
    squares: dict[str, float] = {}
    for name, product, square in _adapter_products(branches) if adapters else _full_products(base, branches):
        layer = layer_of(name)
        products[layer] = products.get(layer, 0.0) + product
        squares[layer] = squares.get(layer, 0.0) + square
    order = sorted(products, key=layer_order)
    total = sum(products.values(), np.zeros((len(branches), len(branches))))
    return Updates(
        _cosines(total),
        {layer: _cosines(products[layer]) for layer in order},
        {layer: np.sqrt(np.diag(products[layer]) / (squares[layer] or 1.0)) for layer in order},
    )


def _cosines(products_LL: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.diag(products_LL))
    scale = np.outer(lengths, lengths)
    cosines = np.divide(products_LL, scale, out=np.zeros_like(products_LL), where=scale > 0)
    cosines = np.clip((cosines + cosines.T) / 2, -1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    return np.asarray(cosines)


def _full_products(base: Path, branches: Sequence[Path]) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name of a tensor, products of its updates, and the square of its length in the base."""
    with ExitStack() as stack:
        before = _reader(base, stack)
        after = [_reader(branch, stack) for branch in branches]
        for name in sorted(before):
            start = before[name]()
            updates = [read[name]() - start for read in after]
            yield name, _products(updates), float((start.astype(np.float64) ** 2).sum())


def _products(updates: list[np.ndarray]) -> np.ndarray:
    size = len(updates)
    total = np.zeros((size, size))
    for begin in range(0, len(updates[0]), _CHUNK):
        part_LP = np.stack([update[begin : begin + _CHUNK] for update in updates]).astype(np.float64)
        total += part_LP @ part_LP.T
    return total


def _adapter_products(branches: Sequence[Path]) -> Iterator[tuple[str, np.ndarray, float]]:
    config = read_json(branches[0] / "adapter_config.json")
    scale = config["lora_alpha"] / config["r"]
    with ExitStack() as stack:
        readers = [_reader(branch, stack, flat=False) for branch in branches]
        for name in sorted(key for key in readers[0] if "lora_A" in key):
            downs = [read[name]().astype(np.float64) for read in readers]
            ups = [read[name.replace("lora_A", "lora_B")]().astype(np.float64) for read in readers]
            product = [
                [
                    float(((up.T @ other_up) * (down @ other_down.T)).sum())
                    for other_up, other_down in zip(ups, downs, strict=True)
                ]
                for up, down in zip(ups, downs, strict=True)
            ]
            yield name, scale**2 * np.array(product), 0.0


def _reader(folder: Path, stack: ExitStack, *, flat: bool = True) -> dict[str, Callable[[], np.ndarray]]:
    """Every tensor of a folder's safetensors files, read (as float32) on use."""
    from safetensors import safe_open

    tensors: dict[str, Callable[[], np.ndarray]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        handle = stack.enter_context(safe_open(file, framework="pt"))
        for name in handle.keys():  # noqa: SIM118  (not a dictionary)
            tensors[name] = partial(_array, handle, name, flat)
    return tensors


def _array(handle: Any, name: str, flat: bool) -> np.ndarray:
    values: np.ndarray = handle.get_tensor(name).float().numpy()
    return values.ravel() if flat else values
