"""Scores of code-switched text: every span under its own experts, with the whole text before it as context.

Shape letters: `K` experts, `T` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from clustering.errors import BadInput
from router.identify.spans import Span
from router.letters import utf8_bytes
from router.mixture.experts import MixedExperts
from router.scoring.texts import Score, expert_log_probs, mix_token_log_probs
from router.scoring.tokens import ScoringOptions


def score_spans(
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    weights: Sequence[np.ndarray],
    tokenizer: Any,
    experts: MixedExperts,
    options: ScoringOptions | None = None,
) -> list[Score]:
    """Score texts whose experts change from span to span.

    Args:
        texts: B texts.
        spans: For each text its spans, which cover it (`router.identify.spans.segment`).
        weights: For each text the weights of its spans after the policy, shape (number of spans, K), rows summing to 1.
        tokenizer: The experts' tokenizer; a fast one of transformers, since tokens must be placed in the text.
        experts: The K experts. If their weights follow the text, they do so within each span, from the span's own.
        options: See `ScoringOptions`.

    Returns:
        One `Score` for each text. A token belongs to the span that its first character is in.

    Raises:
        BadInput: If the tokenizer cannot place tokens, or spans and weights do not fit.
    """
    options = options or ScoringOptions()
    if not getattr(tokenizer, "is_fast", False):
        raise BadInput(
            "Spans need a fast tokenizer (transformers' PreTrainedTokenizerFast), which knows where tokens are."
        )
    sequences, edges, num_experts = [], [], len(experts.names)
    for text, its_spans, its_weights in zip(texts, spans, weights, strict=True):
        if np.shape(its_weights) != (len(its_spans), num_experts):
            raise BadInput(f"weights of {len(its_spans)} spans have shape {np.shape(its_weights)}.")
        ids, borders = _encode(text, its_spans, tokenizer, options.add_prefix)
        sequences.append(ids)
        edges.append(borders)
    needed = [np.asarray(its_weights).reshape(-1, num_experts).any(axis=0) for its_weights in weights]
    found = expert_log_probs(sequences, np.array(needed).reshape(-1, num_experts), experts, options)
    return [
        _combine(text, parts, borders, np.asarray(its_weights), experts.dynamic)
        for text, parts, borders, its_weights in zip(texts, found, edges, weights, strict=True)
    ]


def _encode(text: str, spans: Sequence[Span], tokenizer: Any, add_prefix: bool) -> tuple[list[int], list[int]]:
    """Token ids, and for each span border its index in the log-probabilities (of all tokens but the first)."""
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    lead = [prefix] if add_prefix and prefix is not None else []
    # Replace one character by one, so that positions in the text do not change.
    clean = "".join(c if not "\ud800" <= c <= "\udfff" else "\ufffd" for c in text)
    plain = {"add_special_tokens": False, "split_special_tokens": True}
    encoded = tokenizer(clean, **plain, return_offsets_mapping=True)
    starts = np.array([start for start, _ in encoded["offset_mapping"]], dtype=np.int64)
    ids = lead + list(encoded["input_ids"])
    inner = [len(lead) + int(np.searchsorted(starts, span.start)) for span in spans[1:]]
    return ids, [0, *(max(0, place - 1) for place in inner), max(0, len(ids) - 1)]


def _combine(
    text: str, parts: dict[int, np.ndarray], borders: Sequence[int], weights_SK: np.ndarray, dynamic: float
) -> Score:
    nats, num_scored = 0.0, 0
    for (first, stop), weights_K in zip(pairwise(borders), weights_SK, strict=False):
        if stop > first:
            members = [(float(weights_K[k]), parts[k][first:stop]) for k in parts if weights_K[k] > 0]
            nats -= float(mix_token_log_probs(members, dynamic).sum())
            num_scored += stop - first
    return Score(nats=nats, tokens=num_scored, bytes=len(utf8_bytes(text)))
