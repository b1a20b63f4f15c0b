"""Log-probabilities of answers, given their prompts in the form that they were trained in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clustering.corpora.rows import Row
from xelm.corpus.instructions import instruction_ids
from xelm.corpus.tokens.encoder import boundary_tokens
from xelm.run.experts import Document

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def answer_log_probs(
    model: PreTrainedModel, documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase
) -> list[np.ndarray]:
    """Log-probabilities of the tokens of each answer and of what closes it, in nats.

    Args:
        model: A causal model.
        documents: Documents with `answer_at`.
        tokenizer: Its tokenizer.
    """
    from router.scoring.tokens import token_log_probs

    before, after = boundary_tokens(tokenizer)
    found = [instruction_ids(Row(d.text, answer_at=d.answer_at), tokenizer, before, after) for d in documents]
    log_probs = token_log_probs(model, [ids for ids, _ in found])
    return [values[max(0, start - 1) :] for values, (_, start) in zip(log_probs, found, strict=True)]
