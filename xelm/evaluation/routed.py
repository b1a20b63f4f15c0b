"""What routing makes of the models' log-probabilities: figures of each policy, along the text and by the whole text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from router.routes.policy import parse_policy
from router.scoring.growing import GrowingWeights, mix_growing
from xelm.inference.completions import prompt_ids
from xelm.run.names import BASE

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM
    from xelm.run.experts import Document


def growing_of(lm: RoutedLM, texts: Sequence[str], policy: str) -> tuple[list[list[int]], list[GrowingWeights]]:
    """Token ids of texts, and the weights of their predictions, each from the text before it."""
    sequences = prompt_ids(texts, lm.tokenizer)
    return sequences, lm.growing_weights(sequences, policy)


def along_of(lm: RoutedLM, documents: Sequence[Document], policy: str) -> list[GrowingWeights]:
    """The weights of documents' predictions, from the text before them; of an answer, from its prompt."""
    if any(document.answer_at is not None for document in documents):
        return by_whole_text(lm, [document.asked for document in documents], policy)
    return growing_of(lm, [document.text for document in documents], policy)[1]


def by_whole_text(lm: RoutedLM, texts: Sequence[str], policy: str) -> list[GrowingWeights]:
    """The same with the weights of each whole text, which the text to be predicted has chosen itself."""
    return [GrowingWeights.constant(weights_K) for weights_K in lm.weights(texts, policy)]


def mixed_log_probs(
    lm: RoutedLM,
    policy: str,
    growing: Sequence[GrowingWeights],
    log_probs: Mapping[str, Sequence[np.ndarray]],
    texts: Sequence[str],
) -> list[np.ndarray]:
    """Log-probabilities of the mixture from those that every model has already given.

    Args:
        lm: The run.
        policy: Name of the policy that the weights come from.
        growing: Weights of each text.
        log_probs: Model -> for each text the log-probabilities of its tokens, in nats.
        texts: The texts, for those that experts with pieces of their own answer.

    Returns:
        For each text, shape (its tokens - 1,), in nats.
    """
    dynamic = parse_policy(policy, lm.names).dynamic
    mixed = []
    for row, weights in enumerate(growing):
        weighed_K = np.flatnonzero(weights.weights.any(axis=0))
        if len(weighed_K) == 1:
            mixed.append(log_probs[lm.names[int(weighed_K[0])]][row])
            continue
        if lm.vocabularies.read_apart(weights.weights):
            mixed += lm.scorer(policy).growing([texts[row]], [weights])
            continue
        parts = {column: log_probs[name][row] for column, name in enumerate(lm.names)}
        mixed.append(mix_growing(weights, parts, len(log_probs[BASE][row]), dynamic))
    return mixed
