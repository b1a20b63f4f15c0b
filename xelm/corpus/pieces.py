"""The pieces of a vocabulary that a text has."""

from __future__ import annotations

import numpy as np

from xelm.corpus.store import TokenStore

_SPAN = 1 << 22
"""Tokens looked at together: a store is a memory map, and may be larger than the memory."""


def pieces_of(store: TokenStore) -> frozenset[int]:
    """The pieces that a text has."""
    found = set[int]()
    for start in range(0, len(store.tokens), _SPAN):
        found.update(np.unique(store.tokens[start : start + _SPAN]).tolist())
    return frozenset(found)
