"""Configuration of a mixture of experts, as transformers saves and loads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig


class MixtureConfig(PreTrainedConfig):
    """Configurations of the experts, the weights used when a call gives none, and how far weights follow the text."""

    model_type = "xelm-mixture"

    def __init__(
        self,
        expert_configs: Sequence[PreTrainedConfig | dict[str, Any]] | None = None,
        weights: Sequence[float] | None = None,
        dynamic: float = False,
        **kwargs: Any,
    ):
        configs = [c if isinstance(c, dict) else c.to_dict() for c in expert_configs or []]
        self.expert_configs = configs
        # transformers also makes a configuration of nothing, to tell which values are defaults.
        self.weights = list(weights) if weights is not None else [1.0 / max(1, len(configs))] * len(configs)
        self.dynamic = dynamic
        first = configs[0] if configs else {}
        self.vocab_size = kwargs.pop("vocab_size", first.get("vocab_size"))
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            kwargs.setdefault(name, first.get(name))
        # Experts tie their own weights; the mixture has none to tie.
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)
