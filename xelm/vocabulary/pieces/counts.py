"""How often new pieces occur in the text that they were learned from.

Shape letters: `N` new pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustering.files import write_json
from xelm.run.reading import STRICT, read_as
from xelm.vocabulary.tokenizer_table import fresh_backend

_FILE = "counts.json"


@dataclass(frozen=True)
class Counts:
    """Tokens of a text."""

    pieces: np.ndarray
    """Of each new piece, (N,)."""
    others: int
    """Of all other pieces."""


@dataclass(frozen=True)
class _Written:
    __pydantic_config__ = STRICT

    pieces: list[int]
    others: int


def count_pieces(table: Mapping[str, Any], words: Mapping[str, int], first: int, number: int) -> Counts:
    """Count the tokens of a text.

    Args:
        table: The tokenizer with its new pieces.
        words: Words of the text with their counts (`xelm.vocabulary.pieces.words`).
        first: Id of the first new piece.
        number: N.
    """
    model = fresh_backend(table).model
    pieces_N, others = np.zeros(number, dtype=np.int64), 0
    for word, count in words.items():
        for token in model.tokenize(word):
            if first <= token.id < first + number:
                pieces_N[token.id - first] += count
            else:
                others += count
    return Counts(pieces_N, others)


def write_counts(folder: Path, counts: Counts) -> None:
    """Keep the counts beside a vocabulary, for its first embeddings."""
    write_json(folder / _FILE, {"pieces": counts.pieces.tolist(), "others": counts.others})


def read_counts(folder: Path) -> Counts:
    """The counts beside a vocabulary.

    Raises:
        BadInput: If they are missing or damaged.
    """
    found = read_as(_Written, folder / _FILE)
    return Counts(np.array(found.pieces, dtype=np.int64), found.others)
