"""Splits train, valid and test, read from the rows or made by a hash of the text, so that they never change."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from clustering.corpora.rows import SPLITS, Row
from clustering.errors import BadInput

SMALL_CORPUS = 200
"""Below this many documents a share by hash alone may leave a split empty, so documents are ranked by hash."""
_PIECES = 30
_SENTENCE_END = re.compile(r"(?<=[.!?।။])\s+|(?<=[。！？])\s*")


def split_rows(rows: Iterable[Row], *, valid: float, test: float, name: str) -> Iterator[Row]:
    """Rows in order, each with split `train`, `valid` or `test`.

    If any of the first 200 rows names its split, the rows decide (a row without a split is train). Otherwise
    the first 8 hexadecimal digits of SHA-256 of the text decide, so that equal texts go together. With fewer than 200
    documents they are ranked by that hash, and at least one goes to each split; with fewer than 30, documents are
    first cut at line and sentence ends.

    Args:
        rows: Documents of one language; read as a stream.
        valid: Share held out for decisions, in [0, 1).
        test: Share held out for results, in [0, 1).
        name: The language's name in messages.

    Raises:
        BadInput: If the text is too short to be split, or rows begin to name their split after the first 200.
    """
    stream = iter(rows)
    head = list(itertools.islice(stream, SMALL_CORPUS))
    whole = itertools.chain(head, stream)
    if any(row.split for row in head):
        for row in whole:
            yield replace(row, split=SPLITS[row.split or "train"])
    elif len(head) < SMALL_CORPUS:
        yield from _split_small(head, valid, test, name)
    else:
        for number, row in enumerate(whole, 1):
            if row.split:
                raise BadInput(
                    f"{name}: document {number} names its split ({row.split}), the first {SMALL_CORPUS} do not. "
                    "Let all of them name it, or none."
                )
            yield replace(row, split=_by_share(_hash_share(row.text), valid, test))


def _hash_share(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def _by_share(share: float, valid: float, test: float) -> str:
    return "valid" if share < valid else "test" if share < valid + test else "train"


def _split_small(rows: list[Row], valid: float, test: float, name: str) -> Iterator[Row]:
    are_answers = any(row.answer_at is not None for row in rows)  # which have no pieces
    pieces = rows if len(rows) >= _PIECES or are_answers else [piece for row in rows for piece in _cut(row)]
    texts = sorted({piece.text for piece in pieces}, key=lambda text: (_hash_share(text), text))
    num_valid = max(1, round(valid * len(texts))) if valid else 0
    num_test = max(1, round(test * len(texts))) if test else 0
    if len(texts) <= num_valid + num_test:
        raise BadInput(f"{name}: {len(texts)} document(s) are too few to hold out valid and test text. Add text.")
    split = dict.fromkeys(texts[:num_valid], "valid") | dict.fromkeys(texts[num_valid : num_valid + num_test], "test")
    for piece in pieces:
        yield replace(piece, split=split.get(piece.text, "train"))


def _cut(row: Row) -> list[Row]:
    lines = [line for line in row.text.splitlines() if line.strip()]
    sentences = [s for line in lines for s in re.split(r"(?<=[.!?।။።。！？])\s*", line) if s.strip()]
    group = max(1, len(sentences) // _PIECES)
    return [Row(" ".join(sentences[i : i + group]), None, row.id) for i in range(0, len(sentences), group)]
