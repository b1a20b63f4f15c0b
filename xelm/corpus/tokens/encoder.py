"""Documents as the bytes that a store keeps, between the tokens that begin and close them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.corpora.rows import Row
from xelm.corpus.instructions import instruction_ids
from xelm.corpus.tokens.token_ids import DocumentIds, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Encoded = tuple[bytes, int]
"""The ids of a document, as the bytes of an array, and how many of them stand before its answer."""


def boundary_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The tokens before and after each document: [BOS, EOS or CLS] and [EOS or SEP], empty if there is none."""
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id)
    bos = next((i for i in ids if i is not None), None)
    eos = next((i for i in (tokenizer.eos_token_id, tokenizer.sep_token_id) if i is not None), None)
    return ([] if bos is None else [bos]), ([] if eos is None else [eos])


class Encoder:
    """Documents as bytes.

    Args:
        tokenizer: The tokenizer.
        dtype: Of the ids.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, dtype: type[np.unsignedinteger[Any]]):
        self._tokenizer, self._dtype = tokenizer, dtype
        self._ids = DocumentIds(tokenizer, dtype)
        self._before, self._after = (np.asarray(ids, dtype=dtype).tobytes() for ids in boundary_tokens(tokenizer))

    def documents(self, rows: list[Row]) -> Iterator[Encoded]:
        """Each document."""
        if any(row.answer_at is not None for row in rows):
            for ids, before_answer in tokenise(rows, self._tokenizer):
                yield np.asarray(ids, dtype=self._dtype).tobytes(), before_answer
            return
        for data in self._ids([row.text for row in rows]):
            yield self._before + data + self._after, 0


def tokenise(rows: list[Row], tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[list[int], int]]:
    """Token ids of documents, and how many of them stand before an answer."""
    before, after = boundary_tokens(tokenizer)
    if any(row.answer_at is not None for row in rows):
        yield from (instruction_ids(row, tokenizer, before, after) for row in rows)
        return
    for ids in token_ids([row.text for row in rows], tokenizer):
        yield [*before, *ids, *after], 0
