"""What a model learns from a block: the next token (causal), or tokens that were taken out (masked).

Shape letters: B blocks, T tokens of a block.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clustering.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a place whose output is not judged."""


@dataclass(frozen=True)
class Batch:
    """Blocks as a model reads them, and what it should say."""

    input_ids: np.ndarray
    """(B, T) int64."""
    position_ids: np.ndarray
    """(B, T) int64, beginning again at 0 with every document."""
    labels: np.ndarray
    """(B, T or T - 1) int64: the token that the output at each place, from the first on, should be, or `IGNORED`."""

    @property
    def num_targets(self) -> int:
        """Places that are judged."""
        return int((self.labels != IGNORED).sum())


class Objective(Protocol):
    """Makes a batch of blocks."""

    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> Batch:
        """Inputs and labels.

        Args:
            ids_BT: Tokens.
            positions_BT: Places in their documents.
            draws_B: Which draws of the training the blocks are; what is random hangs on them, not on when it is asked.
            done: Share of the training that is over, in [0, 1).
        """
        ...


@dataclass(frozen=True)
class Causal:
    """The next token of the same document."""

    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> Batch:
        """Each place is to say the token after it; the last of a document, and of a block, nothing."""
        return Batch(ids_BT, positions_BT, np.where(positions_BT[:, 1:] == 0, IGNORED, ids_BT[:, 1:]))


@dataclass(frozen=True)
class Masked:
    """Tokens taken out, to be filled in from both sides.

    Of the tokens chosen, 80 % become the mask token, 10 % a random one, 10 % stay (Devlin et al. 2019), so that the
    model trusts no token it sees. The share chosen falls over a training (30, 15, 5 %; mmBERT: Marone et al. 2025).
    """

    mask_id: int
    vocab_size: int
    special_ids: tuple[int, ...]
    """Never chosen, never put in."""
    rates: tuple[float, ...]
    """Share of tokens chosen, over equal parts of the training."""
    seed: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, rates: Sequence[float], *, seed: int, name: str) -> Masked:
        """For a tokenizer with a mask token; stages of different names take out different tokens.

        Raises:
            BadInput: If it has none.
        """
        if tokenizer.mask_token_id is None:
            raise BadInput(
                'objective = "masked" needs a tokenizer with a mask token, which this base model\'s has not. '
                'Choose a masked model as [base] model, or objective = "causal".'
            )
        stage_seed = zlib.crc32(f"{seed} {name}".encode())
        return cls(tokenizer.mask_token_id, len(tokenizer), tuple(tokenizer.all_special_ids), tuple(rates), stage_seed)

    def rate(self, done: float) -> float:
        """Share of tokens chosen when `done` of the training is over."""
        return self.rates[min(int(done * len(self.rates)), len(self.rates) - 1)]

    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> Batch:
        """The tokens chosen are labels; the model sees what stands in their place."""
        rate, inputs_BT = self.rate(done), ids_BT.copy()
        labels_BT = np.full_like(ids_BT, IGNORED)
        open_BT = ~np.isin(ids_BT, self.special_ids)
        for row, draw in enumerate(draws_B):
            rng = np.random.default_rng([self.seed, int(draw)])
            chance_T, kind_T = rng.random((2, ids_BT.shape[1]))
            chosen_T = open_BT[row] & (chance_T < rate)
            labels_BT[row, chosen_T] = ids_BT[row, chosen_T]
            inputs_BT[row, chosen_T & (kind_T < 0.8)] = self.mask_id
            other_T = chosen_T & (kind_T >= 0.8) & (kind_T < 0.9)
            inputs_BT[row, other_T] = rng.choice(self._usual_ids, other_T.sum())
        return Batch(inputs_BT, positions_BT, labels_BT)

    @cached_property
    def _usual_ids(self) -> np.ndarray:
        return np.setdiff1d(np.arange(self.vocab_size), self.special_ids)
