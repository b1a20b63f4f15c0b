"""Experts that are low-rank adapters on the run's base (LoRA: Hu et al. 2021), through peft."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clustering.errors import BadInput
from clustering.files import read_json, write_text
from xelm.expert_kinds.kind import ExpertKind, expert_kind, first_identity
from xelm.models.layer_groups import selects
from xelm.models.rows import ROWS_BESIDE
from xelm.recipe.parsing import check

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_OWN_ROWS = "has a vocabulary of its own"


@expert_kind
@dataclass(frozen=True, kw_only=True)
class Lora(ExpertKind):
    """Adapters."""

    kind: Literal["lora"] = "lora"
    rank: int = 16
    """For `lora`: columns of an adapter's factors."""
    alpha: int = 32
    """For `lora`: an adapter counts alpha / rank."""
    targets: tuple[str, ...] | None = None
    """For `lora`: modules that get adapters. None: every linear layer but the output head."""

    shares_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self.rank >= 1, f"[expert] rank={self.rank} must be at least 1.")
        check(self.targets != (), "[expert] targets is empty: name modules, or leave the key out to adapt all.")

    def identity(self) -> dict[str, Any]:
        """The settings for fingerprints, in the same form as in earlier versions."""
        return first_identity(self)

    def prepare(self, model: PreTrainedModel) -> Any:
        """Wrap the base by peft; a model that has adapters keeps and trains them."""
        from peft import LoraConfig, get_peft_model

        if hasattr(model, "get_base_model"):
            return model
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=list(self.targets) if self.targets else "all-linear",
            task_type=_task_of(model),
        )
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise BadInput(f"[expert] targets do not fit this model: {error}") from None

    @classmethod
    def load(cls, folder: Path, base: Path, load: Callable[[Path], Any], *, trainable: bool = False) -> Any:
        """The adapters on their own copy of the base."""
        from peft import PeftModel

        with warnings.catch_warnings():
            # peft would go on with adapters that change nothing, or with random ones.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(_with_rows(load(base), folder), str(folder), is_trainable=trainable)

    def save(self, model: Any, folder: Path, weights: dict[str, torch.Tensor] | None) -> None:
        """Write the adapters, and of an own vocabulary the new rows alone."""
        rows = {"save_embedding_layers": False} if model.peft_config["default"].trainable_token_indices else {}
        model.save_pretrained(folder, state_dict=weights, **rows)

    @classmethod
    def move_back(
        cls, folder: Path, base: Path, keep: float, put_back: Sequence[str] = (), rows: Collection[int] = ()
    ) -> None:
        """Scale the adapters: exact, as they are added to the base's weights. Those put back are scaled by 0.

        New rows of a vocabulary stay as they are; all others are the base's anyway.
        """
        if (why := cls.cannot_share(folder)) and why != _OWN_ROWS:
            raise BadInput(f"{folder}: {why}; only plain LoRA can be moved back to the base by scaling it.")
        file = folder / "adapter_config.json"
        config = read_json(file)
        config["lora_alpha"] *= keep
        config["alpha_pattern"] = {key: keep * alpha for key, alpha in (config.get("alpha_pattern") or {}).items()}
        config["alpha_pattern"] |= dict.fromkeys(_adapted_modules(folder, put_back), 0)
        write_text(file, json.dumps(config, indent=2, sort_keys=True))

    @classmethod
    def takes_rows(cls) -> bool:
        """New rows lie beside the adapters."""
        return True

    @classmethod
    def cannot_share(cls, folder: Path) -> str | None:
        """More than plain LoRA on linear layers (DoRA, trained biases) needs a base of its own."""
        from router.models.lora_files import beyond_plain_lora

        extras = [extra for extra in beyond_plain_lora(folder) if ROWS_BESIDE not in extra]
        if not extras and _rows_of(folder):
            return _OWN_ROWS
        return f"has {', '.join(extras)}" if extras else None

    @classmethod
    def serve(cls, base: Any, folders: Mapping[str, Path | None]) -> Any:
        """A batch of rows of any experts in one pass."""
        from router.models.lora_bank import LoraBank
        from router.models.lora_source import LoraSource

        return LoraSource(LoraBank(base), folders)


def _task_of(model: PreTrainedModel) -> str | None:
    if getattr(model.config, "is_encoder_decoder", False):
        return "SEQ_2_SEQ_LM"
    return "CAUSAL_LM" if model.can_generate() else None


def _adapted_modules(folder: Path, selectors: Sequence[str]) -> list[str]:
    """Modules of the base that have adapters and that a selector names."""
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", "pt") as tensors:
        names = [name for name in tensors.keys() if ".lora_A" in name]  # noqa: SIM118 (not a dictionary)
    named = [name for name in names if any(selects(selector, name) for selector in selectors)]
    return sorted(name.removeprefix("base_model.model.").partition(".lora_A")[0] for name in named)


def _rows_of(folder: Path) -> list[int]:
    """Rows of the vocabulary that adapters bring along."""
    config = read_json(folder / "adapter_config.json", finite=False)
    rows = config.get("trainable_token_indices") if isinstance(config, dict) else None
    found = list(rows.values()) if isinstance(rows, dict) else [rows] if rows else []
    if not all(isinstance(part, list) and all(type(row) is int for row in part) for part in found):
        raise BadInput(f"{folder}: trainable_token_indices of its adapters are no lists of rows.")
    return sorted({row for part in found for row in part})


def _with_rows(model: PreTrainedModel, folder: Path) -> Any:
    """The base with room for the rows that adapters bring along."""
    from xelm.models.rows import grow

    rows = _rows_of(folder)
    return grow(model, rows[-1] + 1) if rows else model
