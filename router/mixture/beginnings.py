"""Caches of the beginnings of texts, from which prompts that begin alike go on, such as those with one system prompt.

Only the cache of one model can be cut: that of a mixture also holds weights that belong to its last token.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from transformers import DynamicCache

from router.mixture.kept import KeptBatch, KeptRow, joined


def can_begin(row: KeptRow) -> bool:
    """Whether the cache of a row can be cut behind any of its tokens."""
    return type(row.batch.cache) is DynamicCache


def beginning(row: KeptRow, num_tokens: int, *, copied: bool = False) -> KeptRow:
    """The first so many cached tokens of a row, in a cache of its own.

    Args:
        row: The row; it stays as it is.
        num_tokens: How many, at most as many as are cached.
        copied: Whether its memory is its own; if not, it keeps that of the row's batch in use.
    """
    cache = copy.copy(row.batch.cache)
    cache.layers = [_first_columns(layer, row, num_tokens, copied=copied) for layer in row.batch.cache.layers]
    return KeptRow(KeptBatch(cache, [num_tokens], row.batch.models), 0)


def begun(rows: Sequence[KeptRow], num_tokens: Sequence[int]) -> KeptBatch | None:
    """Beginnings of prompts as one batch, so that only what follows them is read.

    Prompts are filled up on the left, so all rows are cached up to the same column, and of a shorter prompt's beginning
    the end is left out.

    Args:
        rows: The beginning of each prompt.
        num_tokens: Tokens of each prompt, more than its beginning has.

    Returns:
        None if a prompt is so much shorter than another one that none of its beginning can be used.
    """
    longest = max(num_tokens)
    fills = [longest - number for number in num_tokens]
    columns = min(fill + row.num_tokens for fill, row in zip(fills, rows, strict=True))
    if columns <= max(fills):
        return None
    return joined([beginning(row, columns - fill) for fill, row in zip(fills, rows, strict=True)])


def _first_columns(layer: Any, row: KeptRow, num_tokens: int, *, copied: bool) -> Any:
    """A layer's keys and values of the row's first tokens; a row ends in the last column."""
    new = copy.copy(layer)
    for name in ("keys", "values"):
        whole = getattr(layer, name)
        first = whole.shape[2] - row.num_tokens
        part = whole[row.index : row.index + 1, :, first : first + num_tokens]
        setattr(new, name, part.clone() if copied else part)
    return new
