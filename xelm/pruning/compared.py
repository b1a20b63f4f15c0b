"""A pruned model compared with the whole one on held-out sentences.

Shape letters: `T` tokens, `W` kept rows, `V` rows before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_MOST_TOKENS = 256


@dataclass(frozen=True)
class Comparison:
    """What pruning changed on text that was not read for it."""

    sentences: int
    """Held-out sentences compared."""
    unchanged: int
    """Those that are tokenised as before."""
    largest_difference: float | None
    """Largest absolute difference of a hidden state, or of a logit over kept pieces, on those; None: none compared."""

    @property
    def share_unchanged(self) -> float:
        """Share of sentences that are tokenised as before; 1 without sentences."""
        return self.unchanged / self.sentences if self.sentences else 1.0


def same_rows(old: Any, new: Any, texts: Sequence[str], new_ids: Mapping[int, int]) -> list[tuple[list[int], ...]]:
    """Old and new ids of the texts that two tokenizers cut in the same way."""
    before = [encoding.ids for encoding in old.encode_batch(list(texts))]
    after = [encoding.ids for encoding in new.encode_batch(list(texts))]
    return [(b, a) for b, a in zip(before, after, strict=True) if [new_ids.get(index) for index in b] == a]


def largest_difference(whole: Any, small: Any, rows: Sequence[tuple[list[int], ...]], kept_W: Sequence[int]) -> float:
    """Largest absolute difference between two models on the same text, computed in float32.

    Args:
        whole: The model before, in evaluation mode.
        small: The pruned model.
        rows: Old and new ids of each text.
        kept_W: The old rows that the pruned model has.
    """
    import torch

    worst, columns_W = 0.0, torch.as_tensor(list(kept_W))
    for before, after in rows:
        if not before:
            continue
        one, other = _run(whole, before), _run(small, after)
        pairs = list(zip(one.hidden_states, other.hidden_states, strict=True))
        if getattr(one, "logits", None) is not None:
            same = one.logits.shape == other.logits.shape  # a head that is not over pieces, or nothing was pruned
            full = one.logits if same else one.logits.index_select(-1, columns_W.to(one.logits.device))
            pairs.append((full, other.logits))
        worst = max([worst, *(float((a.float() - b.float()).abs().max()) for a, b in pairs)])
    return worst


def _run(model: Any, ids: Sequence[int]) -> Any:
    import torch

    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _MOST_TOKENS
    row: torch.Tensor = torch.tensor([list(ids[: min(limit, _MOST_TOKENS)])], device=model.device)
    with torch.no_grad():
        return model(input_ids=row, attention_mask=torch.ones_like(row), output_hidden_states=True)


def embeddings_of(model: Any) -> np.ndarray:
    """The input embeddings, float32."""
    return np.asarray(model.get_input_embeddings().weight.detach().float().cpu().numpy())
