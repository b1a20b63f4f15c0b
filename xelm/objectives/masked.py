"""Masked tokens, to be predicted from both sides.

Shape letters: B blocks, T tokens of a block.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clustering.errors import BadInput
from xelm.objectives.cloze import Cloze, masked_in
from xelm.objectives.masked_scores import masked_log_probs
from xelm.objectives.objective import IGNORED, Batches, Objective, objective
from xelm.objectives.tokens import TokenBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from xelm.recipe.recipe import Train

_USUAL_CONTEXT = 512


@dataclass(frozen=True)
class MaskedBatches(Batches):
    """Masks tokens of blocks.

    Of the tokens chosen, 80 % become the mask token, 10 % a random one, 10 % stay (Devlin et al. 2019), so that the
    model trusts no token it sees. The share chosen falls over a training (30, 15, 5 %; mmBERT: Marone et al. 2025).
    """

    takes_head: ClassVar[bool] = True
    mask_id: int
    vocab_size: int
    special_ids: tuple[int, ...]
    """Special tokens, which are never chosen and never inserted."""
    rates: tuple[float, ...]
    """Share of tokens chosen, over equal parts of the training."""
    seed: int

    @property
    def steady(self) -> bool:
        """Whether the share chosen is the same all the time."""
        return len(set(self.rates)) == 1

    @property
    def adds(self) -> Collection[int]:
        """The mask."""
        return (self.mask_id,)

    def rate(self, done: float) -> float:
        """Share of tokens chosen when `done` of the training is over."""
        return self.rates[min(int(done * len(self.rates)), len(self.rates) - 1)]

    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> TokenBatch:
        """The chosen tokens are the labels; the model sees their replacements."""
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
        return TokenBatch(inputs_BT, positions_BT, labels_BT)

    @cached_property
    def _usual_ids(self) -> np.ndarray:
        return np.setdiff1d(np.arange(self.vocab_size), self.special_ids)


@objective
class Masked(Objective):
    """Models that fill gaps, such as XLM-R and ModernBERT."""

    name: ClassVar[str] = "masked"
    generates: ClassVar[bool] = False
    follows_text: ClassVar[bool] = False
    fits_new_base: ClassVar[bool] = False

    def auto_class(self) -> Any:
        """`AutoModelForMaskedLM`."""
        from transformers import AutoModelForMaskedLM

        return AutoModelForMaskedLM

    def batches(self, tokenizer: PreTrainedTokenizerBase, settings: Train, name: str) -> Batches:
        """The batches for a tokenizer with a mask token; trainings of different names mask different tokens.

        Raises:
            BadInput: If the tokenizer has no mask token.
        """
        if tokenizer.mask_token_id is None:
            raise BadInput(
                'objective = "masked" needs a tokenizer with a mask token, which this base model\'s has not. '
                'Choose a masked model as [base] model, or objective = "causal".'
            )
        seed = zlib.crc32(f"{settings.seed} {name}".encode())
        special = tuple(tokenizer.all_special_ids)
        return MaskedBatches(tokenizer.mask_token_id, len(tokenizer), special, tuple(settings.mask_rates), seed)

    def log_probs(
        self, model: PreTrainedModel, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, context: int | None
    ) -> list[np.ndarray]:
        """Log-probabilities of every token, given those around it (see `xelm.objectives.masked_scores`)."""
        return masked_log_probs(model, texts, tokenizer, context=context or _USUAL_CONTEXT)

    def cloze_log_probs(
        self, model: PreTrainedModel, clozes: Sequence[Cloze], tokenizer: PreTrainedTokenizerBase
    ) -> np.ndarray:
        """Mean log-probability of the answer's tokens, all masked."""
        return masked_in(model, clozes, tokenizer)
