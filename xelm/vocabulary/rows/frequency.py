"""New rows of the head shifted so that their pieces are predicted as often as they occur.

A row made from other rows says what its piece is like, not how common it is: the head gives thousands of new pieces
about the same chance. What a model hands its head points mostly one way in whatever text (Gao et al. 2019,
"Representation degeneration problem"), so a small step along that mean sets the chances and leaves the rows as they are
otherwise.

Shape letters: `B` texts, `T` positions, `H` hidden size, `V` rows of the head, `N` new pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")
_UNSEEN = 0.5
"""Occurrences of a piece beside those in the text (Krichevsky and Trofimov 1981), as none has a chance of 0."""


@dataclass(frozen=True)
class Heard:
    """Means over the positions at which a model's head was asked."""

    input: torch.Tensor
    """What it was given, (H,)."""
    size: float
    """Sum of the absolute values of what it was given."""
    new: torch.Tensor
    """Its scores of the new pieces, in nats, (N,)."""
    others: float
    """The logarithm of the summed exponentials of its scores of all other pieces."""


def listening(model: Any, first: int, stop: int, read: Callable[[], Result]) -> tuple[Result, Heard]:
    """Let a model read, and say what its head was given and answered.

    Args:
        model: A model with a head over pieces.
        first: Id of the first new piece.
        stop: One past the last.
        read: Lets the model read some text.
    """
    import torch

    heard: list[tuple[Any, ...]] = []

    def hear(_: Any, given: tuple[torch.Tensor, ...], scores_BTV: torch.Tensor) -> None:
        input_TH = given[0].detach().flatten(0, -2).float()
        scores_TV = scores_BTV.detach().flatten(0, -2).float()
        others_TV = torch.cat([scores_TV[:, :first], scores_TV[:, stop:]], dim=1)
        of_others = others_TV.logsumexp(1).sum().item()
        new_N = scores_TV[:, first:stop].sum(0).cpu()
        heard.append((input_TH.sum(0).cpu(), input_TH.abs().sum().item(), new_N, of_others, len(input_TH)))

    handle = model.get_output_embeddings().register_forward_hook(hear)
    try:
        result = read()
    finally:
        handle.remove()
    *sums, number = (sum(parts) for parts in zip(*heard, strict=True))
    return result, Heard(*(total / number for total in sums))


def as_frequent(rows_NH: torch.Tensor, heard: Heard, counts_N: np.ndarray, others: int) -> torch.Tensor:
    """New rows of a head, shifted to the frequencies of their pieces, (N, H).

    Args:
        rows_NH: The rows with which the head was heard.
        heard: What it was given and answered.
        counts_N: How often each new piece occurs in training text.
        others: How often all other pieces do.
    """
    import torch

    chances_N = torch.from_numpy(counts_N).float() + _UNSEEN
    wanted_N = (chances_N / max(others, _UNSEEN)).log() + heard.others
    along_H = heard.input / heard.input.square().sum()
    shifted_NH = rows_NH.float().cpu() + torch.outer(wanted_N - heard.new, along_H)
    return shifted_NH.to(rows_NH.dtype)
