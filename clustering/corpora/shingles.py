"""Find documents that are in two places, equal except for spaces, case and punctuation, or nearly equal.

A document's *letters* are its letters and digits, case folded, with compatibility forms unified. Two documents with the
same letters are the same; one is nearly the same as another if the other has at least half of its windows of 16 letters
(containment of shingles: Broder 1997): a changed word changes about twenty windows, a cut keeps all others. Windows of
letters, not of words, also work for scripts without spaces. Shape letters: `N` letters, `M` windows that are kept, `W`
distinct ones, `P` pairs of a window and a document that has it.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

WINDOW = 16
NEAR = 0.5
"""Share of a document's windows that another must have for the two to be nearly the same."""
_FEWEST_WINDOWS = 8
"""With fewer windows, a document can only be the same as another, never nearly the same."""
_MOST_WINDOWS = 1 << 21
"""Most windows of all documents together; of more, one in two, four, … is kept, by its hash."""
_FIRST_HEAVY, _HEAVY = 0x2E80, 3
"""A letter of Chinese, Japanese or Korean holds as much as three of an alphabet, and counts as three in a window."""
_BATCH_LETTERS = 1 << 20
_MOST_TABLE_BITS = 24
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


def letters_of(text: str) -> str:
    """The letters of a text that count: `"Das  Haus!"` -> `"dashaus"`."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return "".join(filter(str.isalnum, text.casefold()))


def key_of(letters: str) -> int:
    """A hash of 64 bits of a document's letters."""
    return int.from_bytes(hashlib.blake2b(letters.encode(), digest_size=8).digest(), "little")


class Shingles:
    """Documents to find in other text, complete or by most of their windows.

    Memory is about 30 bytes a window and 16 MB, whatever the amount of text that is looked through.

    Args:
        texts: The documents.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        letters = [letters_of(text) for text in texts]
        self.num_letters = [len(one) for one in letters]
        self._by_key: dict[int, list[int]] = {}
        for index, one in enumerate(letters):
            if one:
                self._by_key.setdefault(key_of(one), []).append(index)
        self._one_in = np.uint64(1)
        while sum(self.num_letters) > _MOST_WINDOWS * int(self._one_in):
            self._one_in *= np.uint64(2)
        self._set_windows(letters)

    def _set_windows(self, letters: list[str]) -> None:
        hashes, documents, done = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], 0
        for batch in _batches(letters):
            hashes_M, owner_M = self._windows(batch)
            hashes.append(hashes_M)
            documents.append(owner_M + done)
            done += len(batch)
        every, owners = np.concatenate(hashes), np.concatenate(documents)
        order = np.lexsort((owners, every))
        every, owners = every[order], owners[order]
        first = np.ones(len(every), bool)
        first[1:] = (np.diff(every) != 0) | (np.diff(owners) != 0)
        every, self._owners_P = every[first], owners[first]
        self._hashes_W, self._begins_W = np.unique(every, return_index=True)
        self._ends_W = np.append(self._begins_W[1:], len(every))
        sizes = np.bincount(self._owners_P, minlength=len(letters))
        self._enough = np.where(sizes < _FEWEST_WINDOWS, np.inf, np.ceil(NEAR * sizes))
        # Most windows of other text are not among these: one look into a table tells.
        bits = min(_MOST_TABLE_BITS, len(self._hashes_W).bit_length() + 4)
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[self._hashes_W >> self._shift] = True

    def find(self, others: Iterable[str]) -> tuple[set[int], set[int]]:
        """Find the documents that are among others.

        Args:
            others: Letters of texts, by `letters_of`; read as a stream.

        Returns:
            Numbers of those that are there with the same letters, and of those that nearly are: most of their windows
            are in one of the texts.
        """
        same, near = set[int](), set[int]()
        for batch in _batches(others):
            for letters in batch:
                same.update(self._by_key.get(key_of(letters), ()))
            near.update(self._near(batch))
        return same, near - same

    def _near(self, batch: list[str]) -> list[int]:
        hashes_M, text_M = self._windows(batch)
        there = self._table[hashes_M >> self._shift]
        order = np.argsort(hashes_M[there])  # neighbours in turn are looked up several times faster
        hashes_M, text_M = hashes_M[there][order], text_M[there][order]
        at_M = np.searchsorted(self._hashes_W, hashes_M)
        there = at_M < len(self._hashes_W)
        there[there] = self._hashes_W[at_M[there]] == hashes_M[there]
        text_M, at_M = _distinct(text_M[there], at_M[there])[:2]  # a window counts once in a text
        if not len(at_M):
            return []
        lengths_M = self._ends_W[at_M] - self._begins_W[at_M]
        steps = np.arange(lengths_M.sum()) - np.repeat(np.cumsum(lengths_M) - lengths_M, lengths_M)
        owners = self._owners_P[np.repeat(self._begins_W[at_M], lengths_M) + steps]
        _, owners, counts = _distinct(np.repeat(text_M, lengths_M), owners)
        return list(map(int, owners[counts >= self._enough[owners]]))

    def _windows(self, batch: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the windows of some letters, shape (M,), and which of the batch each is of, shape (M,)."""
        lengths = np.array([len(letters) for letters in batch], dtype=np.int64)
        codes_N = np.frombuffer("".join(batch).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        owner_N = np.repeat(np.arange(len(batch)), lengths)
        times_N = np.where(codes_N >= _FIRST_HEAVY, _HEAVY, 1)
        codes_N, owner_N = np.repeat(codes_N, times_N), np.repeat(owner_N, times_N)
        if len(codes_N) < WINDOW:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        with np.errstate(over="ignore"):
            hashes_N, factor, size = codes_N.astype(np.uint64), _BASE, 1
            while size < WINDOW:  # of windows twice as long each time
                hashes_N = hashes_N[:-size] * factor + hashes_N[size:]
                factor, size = factor * factor, 2 * size
            hashes_N = (hashes_N ^ (hashes_N >> np.uint64(31))) * _MIX
            hashes_N ^= hashes_N >> np.uint64(29)
        whole = owner_N[: len(hashes_N)] == owner_N[WINDOW - 1 :]
        if self._one_in > 1:
            whole &= hashes_N % self._one_in == 0
        return hashes_N[whole], owner_N[: len(hashes_N)][whole]


def _distinct(a_P: np.ndarray, b_P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct pairs of two columns of numbers below 2**32, and how often each comes."""
    pairs, counts = np.unique((a_P << 32) | b_P, return_counts=True)
    return pairs >> 32, pairs & 0xFFFFFFFF, counts


def _batches(letters: Iterable[str]) -> Iterator[list[str]]:
    batch, length = list[str](), 0
    for one in letters:
        batch.append(one)
        length += len(one)
        if length >= _BATCH_LETTERS:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch
