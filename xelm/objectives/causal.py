"""The next token of the same document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from xelm.objectives.cloze import Cloze, continued
from xelm.objectives.objective import IGNORED, Batches, Objective, objective
from xelm.objectives.tokens import TokenBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from xelm.recipe.recipe import Train


class CausalBatches(Batches):
    """The label at each position is the next token; the last position of a document or block has none."""

    takes_head: ClassVar[bool] = True
    steady: ClassVar[bool] = True

    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> TokenBatch:
        """The label at each position is the next token of its document."""
        return TokenBatch(ids_BT, positions_BT, np.where(positions_BT[:, 1:] == 0, IGNORED, ids_BT[:, 1:]))


@objective
class Causal(Objective):
    """Language models that continue a text."""

    name: ClassVar[str] = "causal"
    generates: ClassVar[bool] = True
    follows_text: ClassVar[bool] = True
    fits_new_base: ClassVar[bool] = True

    def auto_class(self) -> Any:
        """`AutoModelForCausalLM`."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    def batches(self, tokenizer: PreTrainedTokenizerBase, settings: Train, name: str) -> Batches:
        """The batches, which do not depend on tokenizer or name."""
        return CausalBatches()

    def log_probs(
        self, model: PreTrainedModel, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, context: int | None
    ) -> list[np.ndarray]:
        """Log-probabilities of every token but the first, given those before it."""
        from router.scoring.texts import encode
        from router.scoring.tokens import token_log_probs

        return list(token_log_probs(model, encode(texts, tokenizer)))

    def cloze_log_probs(
        self, model: PreTrainedModel, clozes: Sequence[Cloze], tokenizer: PreTrainedTokenizerBase
    ) -> np.ndarray:
        """log p(answer and what follows | what stands before)."""
        return continued(model, clozes, tokenizer)
