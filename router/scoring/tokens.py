"""One model's log-probabilities of the tokens of given sequences, in batches, whatever their lengths.

Shape letters: `B` rows, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clustering.errors import BadInput
from router.scoring.windows import Window, batches, windows_of, windows_until


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How texts are cut and batched.

    Attributes:
        context: Tokens in one window; the model's own limit if None (2048 if it has none).
        stride: Number of tokens from window to window, so that every scored token but the first ones has at least
            context - stride tokens before it; half the context if None.
        max_logits: Most numbers (rows x positions x vocabulary) that one pass may produce. None: by the device, since a
            GPU is faster with large batches, a CPU with batches that fit its caches.
        add_prefix: Whether a text starts after the tokenizer's BOS (or else EOS) token, so that its first token is
            scored too. Without such a token the first token of each text is not scored.
    """

    context: int | None = None
    stride: int | None = None
    max_logits: int | None = None
    add_prefix: bool = True


def token_log_probs(
    model: Any,
    sequences: Sequence[Sequence[int]],
    options: ScoringOptions | None = None,
    *,
    stops: Sequence[int] | None = None,
) -> list[np.ndarray]:
    """One model's log-probability of every token but the first of each sequence.

    Args:
        model: A causal language model of transformers.
        sequences: Token ids. Those longer than the context are scored in overlapping windows, each token once.
        options: See `ScoringOptions`.
        stops: For each sequence how many of its tokens are read, at least 1; all if not given. Windows lie where they
            would lie for the whole sequence.

    Returns:
        For each sequence, shape (T - 1,), float64, nats; with `stops` (stop - 1,).

    Raises:
        BadInput: If a token id is outside the model's vocabulary.
    """
    options = options or ScoringOptions()
    context = options.context or context_of(model)
    vocabulary = model.config.get_text_config().vocab_size
    for sequence in sequences:
        if len(sequence) and not 0 <= min(sequence) <= max(sequence) < vocabulary:
            raise BadInput(
                f"Token id {max(sequence)} does not fit a vocabulary of {vocabulary}. "
                "Encode with the tokenizer that the experts were trained with."
            )
    lengths = [len(sequence) for sequence in sequences]
    ends = lengths if stops is None else list(stops)
    results = [np.zeros(max(0, end - 1)) for end in ends]
    windows = [
        window
        for row, (length, end) in enumerate(zip(lengths, ends, strict=True))
        for window in windows_until(end, windows_of(row, length, context, options.stride))
    ]
    max_logits = options.max_logits or (2**27 if model.device.type == "cuda" else 2**21)
    for batch in batches(windows, max_tokens=max(1, max_logits // vocabulary)):
        for window, log_probs_T in zip(batch, _run_batch(model, batch, sequences), strict=True):
            num_scored = window.stop - window.first_scored
            results[window.row][window.first_scored - 1 : window.stop - 1] = log_probs_T[-num_scored:]
    return results


def context_of(model: Any, default: int = 2048) -> int:
    """Largest number of tokens that a model accepts, from its configuration."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or default)


def _run_batch(model: Any, batch: Sequence[Window], sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Log-probabilities of tokens start + 1 .. stop - 1 of each window."""
    import torch

    from router.mixture.logspace import LEAST_LOG_PROB

    device = next(model.parameters()).device
    longest = max(window.stop - window.start for window in batch)
    ids_BT = torch.zeros((len(batch), longest), dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, window in enumerate(batch):
        tokens = list(sequences[window.row][window.start : window.stop])
        ids_BT[row, : len(tokens)] = torch.tensor(tokens)
        mask_BT[row, : len(tokens)] = 1
    ids_BT, mask_BT = ids_BT.to(device), mask_BT.to(device)
    with torch.inference_mode():
        logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).logits[:, :-1]
        results = []
        for row, window in enumerate(batch):
            length = window.stop - window.start - 1
            # Row by row: a float32 copy of a bf16 batch would be twice its size.
            logits_TV = logits_BTV[row, :length]
            logits_TV = logits_TV if logits_TV.dtype == torch.float64 else logits_TV.float()
            chosen_T = logits_TV.gather(-1, ids_BT[row, 1 : length + 1, None].to(logits_TV.device)).squeeze(-1)
            log_probs_T = (chosen_T - logits_TV.logsumexp(-1)).clamp(min=LEAST_LOG_PROB)
            results.append(log_probs_T.double().cpu().numpy())
    return results
