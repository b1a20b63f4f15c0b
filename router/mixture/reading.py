"""One pass of one expert, and the mixture of several. Shape letters as in `router.mixture.model`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from router.mixture.cache import MixtureCache
from router.mixture.logspace import mix
from router.mixture.releases import known_cache_name


@dataclass(frozen=True)
class Pass:
    """The arguments that a forward pass of the mixture gives to each of its experts.

    Attributes:
        input_ids: New tokens, shape (B, T).
        mask: 1 for real tokens, over cached and new ones, shape (B, P + T).
        positions: Positions of the new tokens, shape (B, T).
        cache: The mixture's cache; None without one.
        kept: Indices of the new positions that logits are wanted for; None for all.
        normalized: Whether log-probabilities are enough, or the experts' normalisers are needed too.
    """

    input_ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    cache: MixtureCache | None
    kept: torch.Tensor | None
    normalized: bool


@dataclass(frozen=True)
class Reading:
    """The output of one expert for the new tokens.

    Attributes:
        kept: Log-probabilities at the kept positions, shape (B, kept, V), in nats, at least float32.
        everywhere: The same at all new positions, shape (B, T, V), if they were needed; else `kept` again.
        normalizer: Log of the sum of the exponentials of its logits at the kept positions, shape (B, kept); None
            where log-probabilities are enough.
    """

    kept: torch.Tensor
    everywhere: torch.Tensor
    normalizer: torch.Tensor | None


def read(expert: Any, accepted: frozenset[str], index: int, call: Pass, *, everywhere: bool = False) -> Reading:
    """Run one expert.

    Args:
        expert: A causal language model.
        accepted: Names of the arguments that its forward pass takes.
        index: Its index in the mixture and in the cache.
        call: The arguments that all experts get.
        everywhere: Whether log-probabilities are needed at all new positions.
    """
    device = next(expert.parameters()).device
    inputs: dict[str, Any] = {
        "input_ids": call.input_ids.to(device),
        "attention_mask": call.mask.to(device),
        "use_cache": call.cache is not None,
    }
    if call.cache is not None:
        inputs[known_cache_name(accepted)] = call.cache.experts[index]
    if "position_ids" in accepted:
        inputs["position_ids"] = call.positions.to(device)
    only_kept = call.kept if not everywhere else None
    if only_kept is not None and "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = only_kept.to(device)
    logits = expert(**inputs).logits.to(call.input_ids.device)
    if only_kept is not None and "logits_to_keep" not in accepted:
        logits = logits[:, only_kept]
    logits = logits.float() if logits.dtype != torch.float64 else logits
    log_probs = torch.log_softmax(logits, dim=-1)
    at_kept = call.kept if everywhere and call.kept is not None else slice(None)
    normalizer = None if call.normalized else logits[:, at_kept].logsumexp(-1)
    return Reading(log_probs[:, at_kept], log_probs, normalizer)


def mixed(readings: list[Reading], log_weights: list[torch.Tensor]) -> torch.Tensor:
    """The mixture's log-probabilities; if the experts' normalisers were computed, their mean is added.

    Args:
        readings: Outputs of the M experts that take part.
        log_weights: Log-weights of each, shape (B, kept) or (B, 1).

    Returns:
        Shape (B, kept, V).
    """
    logits = mix([reading.kept for reading in readings], log_weights)
    for reading, log_weights_BT in zip(readings, log_weights, strict=True):
        if reading.normalizer is not None:
            logits = logits + (log_weights_BT.exp() * reading.normalizer)[..., None]
    return logits
