"""Batches of models that predict one token at each position."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xelm.objectives.head import judged
from xelm.objectives.objective import IGNORED, sent

if TYPE_CHECKING:
    import torch

    from xelm.objectives.head import Head


@dataclass(frozen=True)
class TokenBatch:
    """Blocks in the form that a model reads, and the token to predict at each position."""

    input_ids: np.ndarray
    """(B, T) int64."""
    position_ids: np.ndarray
    """(B, T) int64, beginning again at 0 with every document."""
    labels: np.ndarray
    """(B, T or T - 1) int64: the token that the output at each position should predict, or `IGNORED`."""

    @property
    def num_targets(self) -> int:
        """Number of positions that are judged."""
        return int((self.labels != IGNORED).sum())

    def judging(self, judged_BT: np.ndarray) -> TokenBatch:
        """The same with only some of the blocks' tokens to predict."""
        wanted = judged_BT[:, -self.labels.shape[1] :]
        return replace(self, labels=np.where(wanted, self.labels, IGNORED))

    def summed_loss(
        self, model: torch.nn.Module, *, isolated: bool, device: torch.device, head: Head | None = None
    ) -> torch.Tensor:
        """Cross entropy over all targets, in nats; with the model's `head`, only their positions meet it."""
        import torch

        ids, width = sent(self.input_ids, device), self.labels.shape[1]
        extra: dict[str, Any] = self.arguments(model, isolated=isolated, device=device)
        if width < ids.shape[1]:  # a causal model would keep its keys and values
            extra["use_cache"] = False
        if head is not None:
            return head.summed_loss(model, {"input_ids": ids, **extra}, *judged(self.labels, ids.shape[1], device))
        logits = model(input_ids=ids, **extra).logits[:, :width]
        labels = sent(self.labels, device).reshape(-1)
        return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), labels, reduction="sum")

    def arguments(self, model: torch.nn.Module, *, isolated: bool, device: torch.device) -> dict[str, torch.Tensor]:
        """What a model is told beside the tokens: positions, if it keeps documents apart by them."""
        return {"position_ids": sent(self.position_ids, device)} if isolated else {}
