"""How well an encoder-decoder model fills gaps in text: a pseudo-loss over every token of a document, with fixed gaps.

The tokens of a document are cut into spans of three in the mean, always the same ones; every seventh span is left out
in turn (a share of 1/7, near T5's 15 %) and written by the decoder, each after its sentinel, given the rest. So every
token counts once; sentinels and end tokens, which say where gaps are, do not count. The values compare models of this
kind with one another on one text, never with causal or masked ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router.letters import utf8_bytes
from xelm.objectives.gaps.batch import GapBatch, pad_of
from xelm.objectives.gaps.sentinels import end_of, sentinels_of
from xelm.objectives.gaps.spans import MEAN_LENGTH, covering_spans, left_out

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_GROUPS = 7
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class _Row:
    """A piece of a text with every seventh span left out."""

    text: int
    places: np.ndarray
    """Where the tokens of the gaps stand in the text, in order."""
    inputs: list[int]
    target: list[int]
    judged: np.ndarray
    """Where they stand in the target."""


def denoise_log_probs(
    model: PreTrainedModel, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, context: int
) -> list[np.ndarray]:
    """Log-probability of every token of each text, as part of a gap.

    Args:
        model: An encoder-decoder model in evaluation mode.
        texts: Texts; those longer than the context are read in pieces.
        tokenizer: The model's tokenizer, with sentinels.
        context: Largest number of tokens that the encoder reads, including the end token.

    Returns:
        For each text, log-probabilities in nats, shape (its tokens,), float64.
    """
    clean = [utf8_bytes(text).decode() for text in texts]
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    documents = [np.asarray(ids, dtype=np.int64) for ids in tokenizer(clean, **options)["input_ids"]] if clean else []
    sentinels, end = sentinels_of(tokenizer), end_of(tokenizer)
    # A piece must have a sentinel for each of its gaps.
    room = max(1, min(context - len(end), int(MEAN_LENGTH) * _GROUPS * len(sentinels)))
    rows: list[_Row] = []
    for number, (ids, text) in enumerate(zip(documents, clean, strict=True)):
        rng = np.random.default_rng(zlib.crc32(text.encode()))
        for begin in range(0, len(ids), room):
            rows += _rows(number, begin, ids[begin : begin + room], rng, sentinels, end)
    results = [np.zeros(len(ids)) for ids in documents]
    for batch in _batches(sorted(rows, key=lambda row: len(row.inputs))):
        for row, values in zip(batch, _run(model, batch, pad_of(tokenizer)), strict=True):
            results[row.text][row.places] = values
    return results


def _rows(
    text: int, begin: int, ids: np.ndarray, rng: np.random.Generator, sentinels: list[int], end: list[int]
) -> Iterator[_Row]:
    spans = covering_spans(rng, len(ids))
    for group in range(min(_GROUPS, len(spans))):
        mine = spans[group::_GROUPS]
        inputs, target = left_out(ids, mine, sentinels[: len(mine)])
        inside = np.concatenate([np.arange(start, stop) for start, stop in mine])
        lengths = np.array([stop - start for start, stop in mine])
        judged = np.arange(len(inside)) + np.repeat(np.arange(1, len(mine) + 1), lengths)  # after their sentinels
        yield _Row(text, begin + inside, [*inputs, *end], target, judged)


def _batches(rows: list[_Row]) -> Iterator[list[_Row]]:
    batch: list[_Row] = []
    for row in rows:  # from short to long, so the last one is the widest
        if batch and (len(batch) + 1) * len(row.inputs) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _run(model: Any, batch: list[_Row], pad_id: int) -> list[np.ndarray]:
    import torch

    gaps = GapBatch.of([row.inputs for row in batch], [row.target for row in batch], pad_id)
    with torch.no_grad():
        logits = model(**gaps.inputs(model, model.device), use_cache=False).logits
    values = []
    for number, row in enumerate(batch):
        places = torch.from_numpy(row.judged).to(logits.device)
        targets = torch.from_numpy(np.asarray(row.target)[row.judged]).to(logits.device)
        log_probs = logits[number, places].double().log_softmax(dim=-1)
        values.append(log_probs.gather(1, targets[:, None])[:, 0].cpu().numpy())
    return values
