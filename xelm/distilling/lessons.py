"""Batches of a student: the text's own tokens, and what the teacher says of them (Hinton et al. 2015).

Shape letters: B blocks, T tokens of a block, J judged positions, V pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput, arg
from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import DrawOrder
from xelm.distilling.teacher import Teacher
from xelm.objectives.objective import IGNORED, Batches
from xelm.objectives.tokens import TokenBatch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """How a student learns."""

    temperature: float = 1.0
    """Both distributions are softened by it: above 1, what the teacher finds improbable counts more."""
    mix: float = 0.5
    """Share of the teacher in the loss, 0 to 1; the rest is the text's own tokens. 0: no teacher, as a control."""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise BadInput(f"{arg('temperature', self.temperature)}: must be greater than 0.")
        if not 0 <= self.mix <= 1:
            raise BadInput(f"{arg('mix', self.mix)}: the share of the teacher, from 0 (no teacher) to 1.")


@dataclass(frozen=True)
class StudentBatches(Batches):
    """The batches of the run's objective, with the teacher beside them."""

    inner: Batches
    teacher: Teacher
    blocks: Mapping[str, Blocks]
    order: DrawOrder
    teaching: Teaching

    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> StudentBatch:
        """The same blocks, with the weights of the models for each token."""
        own = token_batch(self.inner, ids_BT, positions_BT, draws_B, done)
        weights_BTK = self.teacher.weights(self.blocks, self.order, draws_B)
        return StudentBatch(own, weights_BTK, self.teacher, self.teaching)

    def isolates(self, model: Any) -> bool:
        """As the objective says of the student."""
        return self.inner.isolates(model)


def token_batch(
    batches: Batches, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float
) -> TokenBatch:
    """A batch of an objective whose models predict a token at each position.

    Raises:
        BadInput: If they do not.
    """
    found = batches.batch(ids_BT, positions_BT, draws_B, done)
    if not isinstance(found, TokenBatch):
        raise BadInput(
            "the models of this run do not predict a token at each position of a block, so they cannot teach a student "
            "token by token. Causal and masked runs can."
        )
    return found


@dataclass(frozen=True)
class StudentBatch:
    """Blocks, their labels, and the teacher."""

    own: TokenBatch
    weights: np.ndarray
    """(B, T, K): of the models, for each token."""
    teacher: Teacher
    teaching: Teaching

    @property
    def num_targets(self) -> int:
        """Number of positions that are judged."""
        return self.own.num_targets

    def summed_loss(self, model: torch.nn.Module, *, isolated: bool, device: torch.device) -> torch.Tensor:
        """mix τ² KL(teacher ‖ student) at temperature τ + (1 - mix) cross entropy of the text, summed, in nats."""
        import torch

        labels = torch.from_numpy(self.own.labels).to(device)
        ids = torch.from_numpy(self.own.input_ids).to(device)
        extra: dict[str, Any] = self.own.arguments(model, isolated=isolated, device=device)
        if labels.shape[1] < ids.shape[1]:
            extra["use_cache"] = False
        logits_BTV = model(input_ids=ids, **extra).logits[:, : labels.shape[1]]
        judged_BT = labels != IGNORED
        ours_JV = logits_BTV[judged_BT].float()
        loss: torch.Tensor = ours_JV.sum() * 0
        if self.teaching.mix < 1:
            entropy = torch.nn.functional.cross_entropy(ours_JV, labels[judged_BT], reduction="sum")
            loss = loss + (1 - self.teaching.mix) * entropy
        if not self.teaching.mix:
            return loss
        theirs_JV = self.teacher.log_probs(self.own, self.weights, device)
        return loss + self.teaching.mix * divergence(theirs_JV, ours_JV, self.teaching.temperature)


def divergence(teacher_JV: torch.Tensor, student_JV: torch.Tensor, temperature: float) -> torch.Tensor:
    """τ² KL(teacher ‖ student), both softened by the temperature τ, summed over positions.

    Args:
        teacher_JV: Log-probabilities.
        student_JV: Logits; those beyond the teacher's pieces are left out.
        temperature: τ.
    """
    import torch

    size = min(teacher_JV.shape[1], student_JV.shape[1])
    target_JV = (teacher_JV[:, :size] / temperature).log_softmax(-1)
    ours_JV = (student_JV[:, :size] / temperature).log_softmax(-1)
    found = torch.nn.functional.kl_div(ours_JV, target_JV, reduction="sum", log_target=True)
    return found * temperature**2
