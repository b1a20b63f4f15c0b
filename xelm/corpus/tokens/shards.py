"""The documents of one language, cut into shards that several processes tokenise."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.corpora.rows import Row
from xelm.corpus.tokens.elsewhere import Elsewhere, elsewhere
from xelm.corpus.tokens.encoder import Encoded, Encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_CHARACTERS = 1 << 20
"""Characters of a shard, but for a document that has more by itself."""
_WAITING = 2
"""Shards for each process that are read ahead, so that memory does not grow with the text."""


@contextmanager
def encoded(
    batches: Iterable[list[Row]],
    tokenizer: PreTrainedTokenizerBase,
    dtype: type[np.unsignedinteger[Any]],
    num_processes: int,
) -> Iterator[Iterator[Iterable[Encoded]]]:
    """The documents of some batches in their order, tokenised here, or by other processes if there are several.

    Raises:
        BrokenProcessPool: If other processes cannot be had here, or one has died.
    """
    if num_processes < 2:
        yield map(Encoder(tokenizer, dtype).documents, batches)
        return
    with elsewhere(num_processes, _begin, tokenizer, dtype) as others:
        yield _in_order(others, _shards(batches), _WAITING * num_processes)


def _in_order(others: Elsewhere, shards: Iterator[list[Row]], most: int) -> Iterator[list[Encoded]]:
    waiting: deque[Future[list[Encoded]]] = deque()
    for shard in shards:
        waiting.append(others.submit(_encode, shard))
        if len(waiting) == most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _shards(batches: Iterable[list[Row]]) -> Iterator[list[Row]]:
    for batch in batches:
        shard: list[Row] = []
        characters = 0
        for row in batch:
            if shard and characters + len(row.text) > _MOST_CHARACTERS:
                yield shard
                shard, characters = [], 0
            shard.append(row)
            characters += len(row.text)
        yield shard


_encoder: Encoder
"""Of this process, where it is one of several."""


def _begin(tokenizer: PreTrainedTokenizerBase, dtype: type[np.unsignedinteger[Any]]) -> None:
    global _encoder
    _encoder = Encoder(tokenizer, dtype)


def _encode(shard: list[Row]) -> list[Encoded]:
    return list(_encoder.documents(shard))
