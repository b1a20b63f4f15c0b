"""Reading a PEFT adapter folder as plain LoRA factors."""

from __future__ import annotations

import math
import re
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
        source: Where they came from, for messages.
    """

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    source: str


def read_adapter(folder: str | Path) -> AdapterWeights:
    """Read `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        BadInput: If files are missing or damaged, or the adapter is more than plain LoRA on linear layers (DoRA,
            trained biases, embeddings or whole modules), which one pass cannot mix.
    """
    from peft import PeftConfig
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (path / name).is_file():
            raise BadInput(f"{path / name}: no such file; a PEFT adapter folder has it.")
    try:
        config = PeftConfig.from_pretrained(str(path))
        tensors = load_file(path / "adapter_model.safetensors")
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadInput(f"{path}: the adapter cannot be read ({error}). Restore the file or train it again.") from None
    return adapter_from(config, tensors, str(path))


def adapter_from(config: Any, tensors: dict[str, torch.Tensor], source: str) -> AdapterWeights:
    """Adapter weights from a peft `LoraConfig` and tensors named as peft saves them.

    Raises:
        BadInput: As `read_adapter`.
    """
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
    matches = {name: _FACTOR.match(name) for name in tensors}
    extras += sorted({f"tensor {name}" for name, found in matches.items() if found is None})[:3]
    if extras:
        raise BadInput(
            f"{source}: has {', '.join(extras)}; only plain LoRA on linear layers runs in a shared batch. Merge the "
            "adapter into a copy of the base (peft's merge_and_unload) and use it as a full expert."
        )
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
