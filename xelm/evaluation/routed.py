"""What routing makes of the models' log-probabilities: figures of each policy, along the text and by the whole text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clustering.errors import BadInput
from router.routes.policy import parse_policy
from router.scoring.growing import GrowingWeights, mix_growing
from xelm.inference.completions import prompt_ids
from xelm.run.names import BASE

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM
    from xelm.run.experts import Document


_MOST_READ, _SMALL = 2.5e12, 5e6
"""Bytes times parameters that are always read one by one for a policy, 100 seconds on one core (docs/vocabulary.md);
and the size below which a model takes as long as one of it."""
_DEARER = 3
"""How much longer a byte takes by itself than in a token, measured on a model of 135 million parameters."""


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


def reads_too_much(lm: RoutedLM, texts: Sequence[str], *ways: Sequence[GrowingWeights]) -> int | None:
    """How many bytes experts of different pieces would have to read one by one, if these are too many; else None.

    Too many are those that take longer than all models took to read the texts, and longer than `_MOST_READ`.

    Args:
        lm: The run.
        texts: The texts.
        ways: The weights of each text, in one way or several.
    """
    if not lm.vocabularies.differ or not lm.experts.objective.follows_text:
        return None
    num_bytes = sum(_bytes_read(lm, text, growing) for way in ways for text, growing in zip(texts, way, strict=True))
    size = sum(parameter.numel() for parameter in lm.models.get(BASE).parameters()) if num_bytes else 0
    together = sum(len(text.encode(errors="replace")) for text in texts) * len(lm.experts.models) * size
    return num_bytes if num_bytes * max(size, _SMALL) > max(_MOST_READ, together / _DEARER) else None


def _bytes_read(lm: RoutedLM, text: str, growing: GrowingWeights) -> int:
    """Bytes that a text's experts read one by one, up to the last stretch that different pieces answer together."""
    mixed = lm.vocabularies.mixed_rows(growing.weights)
    if not mixed:
        return 0
    stop = [*growing.starts, None][mixed[-1] + 1]
    [ids] = prompt_ids([text], lm.tokenizer)
    share = 1.0 if stop is None else min(1.0, stop / max(1, len(ids)))
    return round(share * len(text.encode(errors="replace"))) * int(growing.weights.any(axis=0).sum())


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
            if not lm.experts.objective.follows_text:
                raise BadInput("experts of different pieces that fill gaps cannot be mixed. Use top1, or one expert.")
            mixed += lm.scorer(policy).growing([texts[row]], [weights])
            continue
        parts = {column: log_probs[name][row] for column, name in enumerate(lm.names)}
        mixed.append(mix_growing(weights, parts, len(log_probs[BASE][row]), dynamic))
    return mixed
