"""Reading a PEFT adapter folder as plain LoRA factors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clustering.errors import BadInput

_FACTOR = re.compile(r"^(?:base_model\.model\.)?(?P<path>.+)\.lora_(?P<side>[AB])(?:\.[^.]+)?\.weight$")


@dataclass(frozen=True)
class AdapterWeights:
    """Factors of one adapter.

    Attributes:
        factors: Path of a module in the base -> (A, shape (rank, inputs); B, shape (outputs, rank)), with the scaling
            folded into B.
        source: Their folder or another origin, for messages.
    """

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    source: str


def read_adapter(folder: str | Path) -> AdapterWeights:
    """Read `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        BadInput: If files are missing or damaged, or the adapter is more than plain LoRA on linear layers (DoRA,
            trained biases, embeddings or whole modules), which one pass cannot mix.
    """
    from safetensors.torch import load_file

    with _reading(Path(folder)) as (config, weights):
        tensors = load_file(weights)
    return adapter_from(config, tensors, str(folder))


def beyond_plain_lora(folder: str | Path) -> list[str]:
    """The parts of an adapter that one pass cannot mix, such as DoRA; empty for plain LoRA. It reads no weights.

    Raises:
        BadInput: If files are missing or damaged.
    """
    from safetensors import safe_open

    with _reading(Path(folder)) as (config, weights), safe_open(weights, "pt") as tensors:
        return _extras(config, list(tensors.keys()))


@contextmanager
def _reading(folder: Path) -> Iterator[tuple[Any, Path]]:
    """An adapter's configuration and the file of its weights; an error names the folder."""
    from peft import PeftConfig
    from safetensors import SafetensorError

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise BadInput(f"{folder / name}: no such file; a PEFT adapter folder has it.")
    try:
        yield PeftConfig.from_pretrained(str(folder)), folder / "adapter_model.safetensors"
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder}: the adapter cannot be read ({error}). Restore the file or train it again.") from None


def adapter_from(config: Any, tensors: dict[str, torch.Tensor], source: str) -> AdapterWeights:
    """Adapter weights from a peft `LoraConfig` and tensors named as peft saves them.

    Raises:
        BadInput: As `read_adapter`.
    """
    extras = _extras(config, list(tensors))
    if extras:
        raise BadInput(
            f"{source}: has {', '.join(extras)}; only plain LoRA on linear layers runs in a shared batch. Merge the "
            "adapter into a copy of the base (peft's merge_and_unload) and use it as a full expert."
        )
    matches = {name: _FACTOR.match(name) for name in tensors}
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for name, found in matches.items():
        assert found is not None
        sides.setdefault(found["path"], {})[found["side"]] = tensors[name]
    factors = {}
    for path, pair in sides.items():
        if set(pair) != {"A", "B"}:
            raise BadInput(f"{source}: {path} has lora_{'B' if 'A' not in pair else 'A'} missing. Save it again.")
        factors[path] = (pair["A"], pair["B"] * _scaling(config, path, pair["A"].shape[0]))
    return AdapterWeights(factors, source)


def _scaling(config: Any, path: str, rank: int) -> float:
    """alpha / rank (or / sqrt(rank)), with peft's per-module patterns of alpha."""
    from peft.utils.other import get_pattern_key

    alphas: dict[str, float] = config.alpha_pattern or {}
    alpha: float = alphas.get(get_pattern_key(list(alphas), path), config.lora_alpha)
    return alpha / math.sqrt(rank) if config.use_rslora else alpha / rank


def _extras(config: Any, tensors: list[str]) -> list[str]:
    """The parts of an adapter that are more than plain LoRA on linear layers."""
    extras = [
        what
        for what, present in (
            (f"method {config.peft_type}", str(getattr(config.peft_type, "value", config.peft_type)) != "LORA"),
            ("DoRA", getattr(config, "use_dora", False)),
            ("trained biases", getattr(config, "bias", "none") != "none" or getattr(config, "lora_bias", False)),
            ("whole modules", bool(getattr(config, "modules_to_save", None))),
        )
        if present
    ]
    return extras + [f"tensor {name}" for name in sorted(tensors) if _FACTOR.match(name) is None][:3]
