"""Which pieces a pruned tokenizer keeps: those of the text, what they rest on, and those that more text would use.

Shape letters: `V` pieces, `H` hidden size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xelm.pruning.keep import always_kept, with_parts
from xelm.pruning.likely import likely_order
from xelm.vocabulary.pieces.words import words_of
from xelm.vocabulary.tokenizer_table import algorithm, pieces_of

_EVERY = 5
"""Of the sentences, one in so many is read last, to see how many further pieces text that was not read needs."""


def chosen_pieces(
    backend: Any,
    table: Mapping[str, Any],
    sentences: Mapping[str, Sequence[str]],
    embeddings_VH: np.ndarray,
    *,
    min_count: int,
    unchanged: float,
) -> set[int]:
    """Choose the pieces to keep.

    Args:
        backend: The tokenizer, of the `tokenizers` library.
        table: The same as a table.
        sentences: Language -> sentences of its training text.
        embeddings_VH: Row i is the embedding of piece i.
        min_count: How often the text uses a piece that is kept because of the text.
        unchanged: Share of sentences that were not read and should be tokenised as before; 0: keep no further pieces.

    Returns:
        Ids.
    """
    ids = {code: _encode(backend, texts) for code, texts in sentences.items()}
    counts = Counter(index for rows in ids.values() for row in rows for index in row)
    kept = with_parts(table, always_kept(table) | {index for index, count in counts.items() if count >= min_count})
    if unchanged <= 0:
        return kept
    first = {code: [row for number, row in enumerate(rows) if number % _EVERY] for code, rows in ids.items()}
    shown = {code: [text for number, text in enumerate(rows) if number % _EVERY] for code, rows in sentences.items()}
    last = [row for rows in ids.values() for row in rows[::_EVERY]]
    order = _further(backend, table, shown, embeddings_VH, first)
    shown_counts = Counter(index for rows in first.values() for row in rows for index in row)
    read = always_kept(table) | {index for index, count in shown_counts.items() if count >= min_count}
    return with_parts(table, kept | set(order[: _num_needed(order, read, last, unchanged)]))


def _encode(backend: Any, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False)]


def _further(
    backend: Any,
    table: Mapping[str, Any],
    sentences: Mapping[str, Sequence[str]],
    embeddings_VH: np.ndarray,
    ids: Mapping[str, list[list[int]]],
) -> list[int]:
    """All pieces that have an embedding, the likeliest first."""
    pieces = {index: piece for index, piece in pieces_of(table).items() if index < len(embeddings_VH)}
    places = list(pieces)
    where = {index: place for place, index in enumerate(places)}
    chances_V = likely_order(
        list(pieces.values()),
        embeddings_VH[places],
        _prior(table, places),
        {code: words_of(backend, texts) for code, texts in sentences.items()},
        {code: {where[index] for row in rows for index in row if index in where} for code, rows in ids.items()},
    )
    return [places[place] for place in np.argsort(-chances_V, kind="stable")] if chances_V.any() else []


def _prior(table: Mapping[str, Any], places: Sequence[int]) -> np.ndarray:
    """How common pieces are: the score of a Unigram piece; for others the id, since common pieces come first."""
    if algorithm(table) == "Unigram":
        rows = table["model"]["vocab"]
        return np.array([rows[index][1] if index < len(rows) else 0.0 for index in places])
    return -np.log1p(np.array(places, dtype=np.float64))


def _num_needed(order: Sequence[int], read: set[int], rows: Sequence[Sequence[int]], unchanged: float) -> int:
    """How many of the ordered pieces, after those that were read, leave the share `unchanged` of rows as they are.

    The share is one standard error higher among these rows, so that it probably holds for others.
    """
    rank = {index: number for number, index in enumerate(order, 1)} | dict.fromkeys(read, 0)
    needed = sorted(max((rank.get(index, len(order)) for index in row), default=0) for row in rows)
    if not needed:
        return 0
    surely = unchanged + math.sqrt(unchanged * (1 - unchanged) / len(needed))
    return needed[min(len(needed), max(1, math.ceil(surely * len(needed)))) - 1]
