"""How a mixture reads the arguments of a transformers model: masks, positions, weights, labels.

Shape letters: `B` rows, `M` experts, `P` cached positions, `T` new positions, `S` = P + T, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from clustering.errors import BadInput

IGNORED_LABEL = -100

# Keywords that transformers passes to every model, and the values that change nothing here.
_NEUTRAL: dict[str, Callable[[Any], bool]] = {
    "cache_position": lambda value: True,  # positions are counted from the mask
    "return_dict": lambda value: value is not False,
    "token_type_ids": lambda value: not bool(value.any()),
}


def refuse_unknown(keywords: dict[str, Any]) -> None:
    """Refuse keywords of a forward pass that a mixture would otherwise silently ignore.

    Raises:
        BadInput: If a keyword is neither known nor empty (None, False).
    """
    unknown = [name for name, value in keywords.items() if value is not None and not _is_neutral(name, value)]
    if unknown:
        raise BadInput(
            f"{', '.join(sorted(unknown))}: not for a mixture of experts, which takes input_ids, attention_mask, "
            "position_ids, cache, use_cache, logits_to_keep, labels and expert_weights."
        )


def _is_neutral(name: str, value: Any) -> bool:
    return _NEUTRAL.get(name, lambda value: value is False)(value)


def full_mask(attention_mask: torch.Tensor | None, input_ids: torch.Tensor, num_past: int) -> torch.Tensor:
    """The mask over cached and new tokens, shape (B, S); without a given mask, all tokens are real.

    Raises:
        BadInput: If the given mask has another shape.
    """
    if attention_mask is None:
        return torch.ones(
            (input_ids.shape[0], num_past + input_ids.shape[1]), dtype=torch.long, device=input_ids.device
        )
    if attention_mask.shape != (input_ids.shape[0], num_past + input_ids.shape[1]):
        raise BadInput(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but {num_past} cached and {input_ids.shape[1]} "
            f"new tokens in {input_ids.shape[0]} rows need {(input_ids.shape[0], num_past + input_ids.shape[1])}."
        )
    return attention_mask


def positions_from(mask_BS: torch.Tensor, num_new: int) -> torch.Tensor:
    """Positions that start at 0 on each row's first real token, for the new tokens."""
    return (mask_BS.long().cumsum(-1) - 1).clamp(min=0)[:, -num_new:]


def kept_positions(logits_to_keep: int | torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor | None:
    """Indices of the new positions that logits are wanted for; None for all."""
    if isinstance(logits_to_keep, torch.Tensor):
        return logits_to_keep
    if logits_to_keep == 0:
        return None
    num_new = input_ids.shape[1]
    return torch.arange(max(0, num_new - logits_to_keep), num_new, device=input_ids.device)


def check_weights(weights_BM: torch.Tensor, num_experts: int, num_rows: int = 1, num_new: int | None = None) -> None:
    """Refuse weights that are not one distribution over the experts for each row, or for each position of each row.

    Raises:
        BadInput: If the shape is neither (rows, experts) nor, with `num_new`, (rows, new tokens, experts), a weight is
            negative, or a row does not sum to 1.
    """
    if weights_BM.shape not in ((num_rows, num_experts), (num_rows, num_new, num_experts)):
        raise BadInput(
            f"expert_weights has shape {tuple(weights_BM.shape)}; {num_rows} rows and {num_experts} experts need "
            f"({num_rows}, {num_experts})."
        )
    sums_B = weights_BM.sum(-1)
    if bool((weights_BM < 0).any()) or not torch.allclose(sums_B, torch.ones_like(sums_B), atol=1e-3):
        raise BadInput("Each row of expert_weights must be at least 0 and sum to 1. Divide each row by its sum.")


def shifted_loss(log_probs_BTV: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean negative log-probability of the labels, each predicted from the position before it, in nats."""
    shifted = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED_LABEL)
    return torch.nn.functional.nll_loss(
        log_probs_BTV.flatten(0, 1), shifted.flatten().to(log_probs_BTV.device), ignore_index=IGNORED_LABEL
    )
