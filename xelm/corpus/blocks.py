"""Blocks of a fixed number of tokens, cut from a token store without padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xelm.corpus.store import TokenStore


@dataclass(frozen=True)
class Blocks:
    """A language's training tokens as blocks; the last block is filled with tokens of the first document.

    In a store of whole documents (`TokenStore.whole`) a block begins with the first document that the block before had
    no room for, so that every document is whole in one block, and blocks overlap by the beginning of one.

    Shape letters: B blocks asked for, T tokens of a block.
    """

    store: TokenStore
    sequence_length: int

    def __len__(self) -> int:
        if self.store.whole:
            return len(self._begins)
        return -(-len(self.store.tokens) // self.sequence_length)

    def take(self, indices_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The blocks of these indices.

        Returns:
            `input_ids` (B, T) int64, and `position_ids` (B, T) int64, which begin again at 0 with every document:
            a model that follows them keeps documents apart, and the tokens at position 0 are never predicted.
        """
        offsets_T, places_BT = np.arange(self.sequence_length), self._places(indices_B)
        document_BT = np.searchsorted(self.store.starts, places_BT, side="right") - 1
        begins_BT = self.store.starts[document_BT] == places_BT
        # A block that begins inside a document counts from its own first token: there the maximum starts at 0.
        first_BT = np.maximum.accumulate(np.where(begins_BT, offsets_T, 0), axis=1)
        return self.store.tokens[places_BT].astype(np.int64), offsets_T - first_BT

    def judged(self, indices_B: np.ndarray) -> np.ndarray | None:
        """Which tokens of these blocks are learnt, (B, T) bool: of instructions, the answers. None: all of them."""
        if self.store.answers is None:
            return None
        places_BT = self._places(indices_B)
        document_BT = np.searchsorted(self.store.starts, places_BT, side="right") - 1
        return np.asarray(places_BT - self.store.starts[document_BT] >= self.store.answers[document_BT])

    def _places(self, indices_B: np.ndarray) -> np.ndarray:
        begins_B = self._begins[indices_B] if self.store.whole else indices_B * self.sequence_length
        return np.asarray((begins_B[:, None] + np.arange(self.sequence_length)) % len(self.store.tokens))

    @cached_property
    def _begins(self) -> np.ndarray:
        """Where blocks of whole documents begin."""
        begins, starts = [0], self.store.starts
        while begins[-1] + self.sequence_length < len(self.store.tokens):
            end = begins[-1] + self.sequence_length
            next_start = int(starts[np.searchsorted(starts, end, side="right") - 1])
            begins.append(next_start if next_start > begins[-1] else end)
        return np.array(begins, dtype=np.int64)
