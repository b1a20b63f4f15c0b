"""How probable texts are under experts and mixtures: nats, tokens, bytes.

Experts are run one after the other over all texts that give them weight, and only the probabilities of the texts' own
tokens are kept, so only one expert at a time must be loaded. Mixing happens afterwards in float64.
Shape letters: `B` texts, `K` experts, `M` experts that take part, `T` tokens of one text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from router.letters import utf8_bytes
from router.mixture.experts import MixedExperts
from router.scoring.tokens import ScoringOptions, token_log_probs
from router.texts import as_texts


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is needed here."""

    bos_token_id: int | None
    eos_token_id: int | None

    def __call__(self, text: Any, *, add_special_tokens: bool = ..., split_special_tokens: bool = ...) -> Any: ...


@dataclass(frozen=True)
class Score:
    """Cost of a text.

    Attributes:
        nats: -log p of the scored tokens.
        tokens: Number of tokens scored.
        bytes: UTF-8 bytes of the text (for given token ids without text: 0).
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Total bits / bytes; NaN for an empty text."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    def __repr__(self) -> str:
        rate = f"{self.bits_per_byte:.4f}"
        return f"Score(nats={self.nats:.4f}, tokens={self.tokens}, bytes={self.bytes}, bits_per_byte={rate})"

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens); NaN if no token was scored."""
        return math.exp(self.nats / self.tokens) if self.tokens else math.nan


def score_texts(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    weights_BK: np.ndarray,
    experts: MixedExperts,
    options: ScoringOptions | None = None,
) -> list[Score]:
    """Score texts under mixtures of experts.

    Args:
        texts: B texts. An empty one costs 0 nats for 0 tokens; lone surrogates are read as U+FFFD.
        tokenizer: The experts' common tokenizer.
        weights_BK: Weights after the policy, shape (B, K), rows summing to 1. An expert runs only on the texts that
            give it weight.
        experts: The K experts, whose weights may follow each text, also from window to window.
        options: See `ScoringOptions`.

    Returns:
        One `Score` for each text, in order.
    """
    options = options or ScoringOptions()
    clean = [utf8_bytes(text).decode() for text in as_texts(texts)]
    sequences = encode(clean, tokenizer, add_prefix=options.add_prefix)
    nats = score_sequences(sequences, weights_BK, experts, options)
    return [score_of(text, log_probs_T) for log_probs_T, text in zip(nats, clean, strict=True)]


def score_of(text: str, log_probs_T: np.ndarray) -> Score:
    """The score of a text whose tokens have these log-probabilities."""
    return Score(nats=float(-log_probs_T.sum()), tokens=len(log_probs_T), bytes=len(utf8_bytes(text)))


def encode(texts: Sequence[str], tokenizer: Tokenizer, *, add_prefix: bool = True) -> list[list[int]]:
    """Token ids of each text, after a BOS (or else EOS) token if the tokenizer has one and `add_prefix` is set.

    As in training, the spelling of a special token in a text, such as `</s>`, is read as plain text.
    """
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    lead = [prefix] if add_prefix and prefix is not None else []
    plain = {"add_special_tokens": False, "split_special_tokens": True}
    return [lead + list(tokenizer(text, **plain)["input_ids"]) for text in texts]


def score_sequences(
    sequences: Sequence[Sequence[int]],
    weights_BK: np.ndarray,
    experts: MixedExperts,
    options: ScoringOptions | None = None,
) -> list[np.ndarray]:
    """Log-probabilities of all tokens but the first of each sequence.

    Args:
        sequences: Token ids of B texts; the first token of each is context only.
        weights_BK: Weights after the policy, shape (B, K), rows summing to 1.
        experts: The K experts.
        options: See `ScoringOptions`.

    Returns:
        For each sequence the log-probabilities in nats, shape (T - 1,), float64.
    """
    weights_BK = np.asarray(weights_BK, dtype=np.float64)
    experts.check(weights_BK, len(sequences))
    by_expert = expert_log_probs(sequences, weights_BK > 0, experts, options)
    return [
        mix_token_log_probs([(weights_K[k], parts[k]) for k in parts], experts.dynamic) if parts else np.zeros(0)
        for weights_K, parts in zip(weights_BK, by_expert, strict=True)
    ]


def expert_log_probs(
    sequences: Sequence[Sequence[int]],
    needed_BK: np.ndarray,
    experts: MixedExperts,
    options: ScoringOptions | None = None,
) -> list[dict[int, np.ndarray]]:
    """Log-probabilities of the sequences' tokens under the experts they need, one expert after the other.

    Args:
        sequences: Token ids of B texts.
        needed_BK: Whether a text needs an expert, shape (B, K), bool.
        experts: The K experts; the model of one that has work is asked for once.
        options: See `ScoringOptions`.

    Returns:
        For each sequence: index of an expert -> log-probabilities of all tokens but the first, shape (T - 1,), in nats.
    """
    found: list[dict[int, np.ndarray]] = [{} for _ in sequences]
    for column, name in enumerate(experts.names):
        rows = [row for row, sequence in enumerate(sequences) if needed_BK[row, column] and len(sequence) > 1]
        if not rows:
            continue
        log_probs = token_log_probs(experts.models.get(name), [sequences[row] for row in rows], options)
        for row, log_probs_T in zip(rows, log_probs, strict=True):
            found[row][column] = log_probs_T
    return found


def mix_token_log_probs(parts: Sequence[tuple[float, np.ndarray]], dynamic: float) -> np.ndarray:
    """Log-probabilities of one text's tokens under a mixture.

    Args:
        parts: For each of M experts its weight (> 0) and its log-probabilities of the tokens, shape (T,), in nats.
        dynamic: How far weights follow the text (`Policy.dynamic`). True: w(t) is proportional to weight times the
            product of the expert's probabilities of the tokens before t; a number: to that product's power.

    Returns:
        Shape (T,), in nats.
    """
    log_weights_M1 = np.log([[weight] for weight, _ in parts])
    log_probs_MT = np.stack([log_probs_T for _, log_probs_T in parts])
    if dynamic:
        before_MT = np.cumsum(log_probs_MT, axis=1) - log_probs_MT
        log_weights_M1 = log_weights_M1 + dynamic * before_MT
        log_weights_M1 = log_weights_M1 - _log_sum_exp(log_weights_M1)
    return _log_sum_exp(log_weights_M1 + log_probs_MT)


def _log_sum_exp(values_MT: np.ndarray) -> np.ndarray:
    peak_T = values_MT.max(axis=0)
    return np.asarray(peak_T + np.log(np.exp(values_MT - peak_T).sum(axis=0)))
