"""Pseudo-losses of whole texts, for experts that do not predict each token from those before it.

Each expert predicts every token of a text from what stands around it, in the way of its objective
(`Objective.log_probs`); the experts' probabilities of a token are mixed by the weights of the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clustering.errors import BadInput, arg
from router.mixture.experts import MixedExperts
from router.scoring.growing import GrowingWeights, mix_growing
from router.scoring.texts import Score, score_of
from xelm.models.base import context_length
from xelm.recipe.recipe import Base
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE
from xelm.vocabulary.of_run import Vocabularies


def pseudo_scores(
    experts: ExpertSet,
    texts: Sequence[str],
    weights_BK: np.ndarray,
    vocabularies: Vocabularies,
    mixed: MixedExperts,
) -> list[Score]:
    """Scores of texts by the pseudo-loss of the experts' objective.

    Args:
        experts: The run.
        texts: B texts.
        weights_BK: Weights of the whole texts, shape (B, K), rows summing to 1.
        vocabularies: The K experts' pieces.
        mixed: The K experts.

    Raises:
        BadInput: If the weights follow the text, or experts read different pieces.
    """
    if mixed.dynamic:
        raise BadInput(
            f"{arg('policy', 'bayes')}: its weights follow a text from left to right, which {experts.objective} models "
            "do not. Choose top1, topm or ensemble."
        )
    if vocabularies.mixed_rows(weights_BK):
        raise BadInput(
            "experts that read different pieces are mixed byte by byte, which needs causal experts. "
            f"Use {arg('policy', 'top1')}, or an expert's name."
        )
    context = context_length(Base(model=str(experts.folder(BASE))))
    found: list[dict[int, np.ndarray]] = [{} for _ in texts]
    for column, name in enumerate(vocabularies.names):
        rows: list[int] = np.flatnonzero(weights_BK[:, column] > 0).tolist()
        if not rows:
            continue
        chosen = [texts[row] for row in rows]
        log_probs = experts.objective.log_probs(mixed.models.get(name), chosen, experts.tokenizer(name), context)
        for row, log_probs_T in zip(rows, log_probs, strict=True):
            found[row][column] = log_probs_T
    together = [_mixed(parts, weights_K) for parts, weights_K in zip(found, weights_BK, strict=True)]
    return [score_of(text, log_probs_T) for text, log_probs_T in zip(texts, together, strict=True)]


def _mixed(parts: dict[int, np.ndarray], weights_K: np.ndarray) -> np.ndarray:
    if len(parts) == 1:
        return next(iter(parts.values()))
    return mix_growing(GrowingWeights.constant(weights_K), parts, len(next(iter(parts.values()))), False)
