"""Which model reads a language best that no expert was trained on: asked of the models themselves, once a language."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from router.mixture.experts import MixedExperts
from router.scoring.texts import encode, expert_log_probs

NUM_TOKENS = 64
"""How many of a text's first tokens are read."""


@dataclass
class Probes:
    """Losses on the first tokens of texts, added up for each language.

    Attributes:
        nats: Language -> model -> sum of the losses of its texts.
        bytes: Language -> UTF-8 bytes of the tokens read.
    """

    nats: dict[str, dict[str, float]] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def losses(self) -> dict[str, dict[str, float]]:
        """Model -> language -> bits per byte."""
        table: dict[str, dict[str, float]] = {}
        for language, by_model in self.nats.items():
            for name, nats in by_model.items():
                table.setdefault(name, {})[language] = nats / math.log(2) / self.bytes[language]
        return table

    def add(
        self,
        languages: Sequence[str],
        texts: Sequence[str],
        tokenizer: Any,
        experts: MixedExperts,
    ) -> None:
        """Read texts with all models, one after the other.

        Args:
            languages: Language of each text.
            texts: Texts.
            tokenizer: The tokenizer that the models share.
            experts: The models.
        """
        sequences = [ids[: NUM_TOKENS + 1] for ids in encode(texts, tokenizer)]
        needed_BK = np.ones((len(sequences), len(experts.names)), dtype=bool)
        found = expert_log_probs(sequences, needed_BK, experts)
        for language, ids, parts in zip(languages, sequences, found, strict=True):
            num_bytes = len(tokenizer.decode(ids[1:], skip_special_tokens=True).encode())
            if not num_bytes or not parts:
                continue
            of_language = self.nats.setdefault(language, dict.fromkeys(experts.names, 0.0))
            for column, name in enumerate(experts.names):
                of_language[name] -= float(parts[column].sum())
            self.bytes[language] = self.bytes.get(language, 0) + num_bytes
