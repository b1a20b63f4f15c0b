"""Batches of encoder-decoder models.

Shape letters: B texts, E tokens of the encoder's input, D tokens of the decoder's target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router.encoder_decoder import start_token
from xelm.objectives.head import judged
from xelm.objectives.objective import IGNORED, sent

if TYPE_CHECKING:
    import torch

    from xelm.objectives.head import Head


@dataclass(frozen=True)
class GapBatch:
    """Texts with gaps, and what stands in the gaps."""

    input_ids: np.ndarray
    """(B, E) int64, filled up on the right."""
    attention_mask: np.ndarray
    """(B, E) int64: 1 for a token, 0 for filling."""
    labels: np.ndarray
    """(B, D) int64: the tokens that the decoder should write, or `IGNORED`."""

    @classmethod
    def of(cls, inputs: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], pad_id: int) -> GapBatch:
        """Rows of different lengths as one batch."""
        shape = (len(inputs), max(map(len, inputs)))
        input_ids, attention = np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        labels = np.full((len(targets), max(1, *map(len, targets))), IGNORED, dtype=np.int64)
        for row, (ids, target) in enumerate(zip(inputs, targets, strict=True)):
            input_ids[row, : len(ids)], attention[row, : len(ids)] = ids, 1
            labels[row, : len(target)] = target
        return cls(input_ids, attention, labels)

    @property
    def num_targets(self) -> int:
        """Number of tokens of the decoder that are judged."""
        return int((self.labels != IGNORED).sum())

    def summed_loss(
        self, model: torch.nn.Module, *, isolated: bool, device: torch.device, head: Head | None = None
    ) -> torch.Tensor:
        """Cross entropy over all targets, in nats; with the model's `head`, only their positions meet it."""
        import torch

        inputs = {**self.inputs(model, device), "use_cache": False}
        if head is not None:
            return head.summed_loss(model, inputs, *judged(self.labels, self.labels.shape[1], device))
        labels = sent(self.labels, device)
        logits = model(**inputs).logits
        return torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1), reduction="sum"
        )

    def inputs(self, model: Any, device: torch.device) -> dict[str, torch.Tensor]:
        """The arguments of a model's forward, with which its output at each place predicts the label there."""
        start = start_token(getattr(model, "module", model).config)  # accelerate may have wrapped the model
        before = np.roll(self.labels, 1, axis=1)
        before[:, 0] = start
        # What follows an ignored label is ignored too.
        decoder_ids = np.where(before == IGNORED, start, before)
        return {
            "input_ids": sent(self.input_ids, device),
            "attention_mask": sent(self.attention_mask, device),
            "decoder_input_ids": sent(decoder_ids, device),
        }


def pad_of(tokenizer: Any) -> int:
    """The token that fills up short rows, which no model looks at."""
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((int(i) for i in ids if i is not None), 0)
