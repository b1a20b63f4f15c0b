"""How well a masked model fills in text: a pseudo-loss over every token of a document, with fixed masks.

The tokens of a document fall into seven groups at random, always the same ones; each group is masked in turn (a share
of 1/7, near BERT's 15 %) and predicted from the rest. So every token counts once, as it does for a causal model, and
bits per masked token and per byte can be taken over the whole text. They compare masked models with one another on one
text (Salazar et al. 2020 mask one token at a time, at many times the cost), never with causal ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xelm.corpus.tokens.encoder import boundary_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_GROUPS = 7
_BATCH_TOKENS = 4096


def masked_log_probs(
    model: PreTrainedModel, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, context: int
) -> list[np.ndarray]:
    """Log-probability of every token of each text, predicted from those around it.

    Args:
        model: A masked language model in evaluation mode.
        texts: Texts; those longer than the context are read in pieces.
        tokenizer: The model's tokenizer, with a mask token.
        context: Largest number of tokens that the model reads, including boundary tokens.

    Returns:
        For each text, log-probabilities in nats, shape (its tokens,), float64.
    """
    before, after = boundary_tokens(tokenizer)
    room = context - len(before) - len(after)
    documents = [
        np.asarray(ids)
        for ids in tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)[
            "input_ids"
        ]
    ]
    results = [np.zeros(len(ids)) for ids in documents]
    rows = []
    for number, (ids, text) in enumerate(zip(documents, texts, strict=True)):
        group = np.random.default_rng(zlib.crc32(text.encode())).permutation(len(ids)) % _GROUPS
        for begin in range(0, len(ids), room):
            piece = slice(begin, begin + room)
            rows += [(number, begin, ids[piece], np.flatnonzero(group[piece] == g)) for g in range(_GROUPS)]
    rows = sorted((row for row in rows if len(row[3])), key=lambda row: len(row[2]))
    for batch in _batches(rows):
        for (number, begin, _, masked), values in zip(batch, _run(model, tokenizer, batch, before, after), strict=True):
            results[number][begin + masked] = values
    return results


def _batches(rows: list[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for row in rows:  # from short to long, so the last one is the widest
        if batch and (len(batch) + 1) * len(row[2]) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: list[Any],
    before: list[int],
    after: list[int],
) -> list[np.ndarray]:
    import torch

    width = max(len(ids) for _, _, ids, _ in batch) + len(before) + len(after)
    input_ids = np.full((len(batch), width), tokenizer.pad_token_id, dtype=np.int64)
    attention = np.zeros_like(input_ids)
    for row, (_, _, ids, masked) in enumerate(batch):
        seen = ids.copy()
        seen[masked] = tokenizer.mask_token_id
        whole = [*before, *seen, *after]
        input_ids[row, : len(whole)], attention[row, : len(whole)] = whole, 1
    with torch.no_grad():
        logits = model(
            input_ids=torch.from_numpy(input_ids).to(model.device),
            attention_mask=torch.from_numpy(attention).to(model.device),
        ).logits
    values = []
    for row, (_, _, ids, masked) in enumerate(batch):
        places = torch.from_numpy(masked + len(before)).to(model.device)
        targets = torch.from_numpy(ids[masked].astype(np.int64)).to(model.device)
        log_probs = logits[row, places].double().log_softmax(dim=-1)
        values.append(log_probs.gather(1, targets[:, None])[:, 0].cpu().numpy())
    return values
