"""A tokenizer as bytes: the bytes that each piece stands for, and the pieces of every beginning of a text.

It holds for BPE and Unigram tokenizers whose pieces are bytes, or letters with `▁` for a space, and for the texts that
such a tokenizer gives back as they were. A tokenizer that puts a space before every text has one *hidden* byte: the
first piece holds it, and it is no part of the text.

Shape letters: `V` pieces.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clustering.errors import BadInput
from xelm.corpus.tokens.token_ids import token_ids
from xelm.models.profile_tokenizers import byte_of_letter
from xelm.vocabulary.tokenizer_table import algorithm, is_byte_level, pieces_of, table_of

_SPACE, _SIGN, _BYTE_SPACE = " ", "▁", "Ġ"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SHOWN = 40
_AFTER_ALL = b"\xff" * 32
"""After every piece that begins with given bytes."""
_UNSETTLED = 8
"""Words at the end of a text that more text may change."""
_LONG_WORD, _MOST_WORDS = 40, 200_000
"""Letters of a word whose pieces are not remembered, and how many words are."""


def cannot_read_bytes(tokenizer: Any) -> str | None:
    """Why a tokenizer's model cannot be read as one over bytes; None if it can."""
    try:
        table = table_of(tokenizer)
    except BadInput as error:
        return str(error)
    kind = algorithm(table)
    if kind not in ("BPE", "Unigram"):
        return f"its tokenizer is {kind}, and those of BPE and Unigram alone are read byte by byte"
    if table["model"].get("continuing_subword_prefix") or table["model"].get("end_of_word_suffix"):
        return "its pieces are marked as parts of words, so what they spell is not known byte by byte"
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        return "its tokenizer has no start token"
    if not is_byte_level(table) and not any(_SIGN in piece for piece in pieces_of(table).values()):
        return "its pieces hold no spaces, so texts do not come back as they were"
    return None


@dataclass(frozen=True)
class Beginning:
    """A beginning of a text as the tokenizer cuts it."""

    place: int
    """Its bytes, hidden ones counted in."""
    characters: int
    """Its characters; one that it ends inside is not counted."""
    ids: tuple[int, ...]
    """Its tokens, the start token first."""
    is_whole: bool = True
    """Whether it ends with a character, not inside one."""


@dataclass(frozen=True)
class Forks:
    """How pieces go on after some bytes that they begin with, among all pieces in the order of their bytes."""

    following: np.ndarray
    """The bytes that come next in some of them, ascending."""
    starts: np.ndarray
    """For each such byte, the first of the pieces that have it there; those of the next byte follow."""
    stop: int
    """One past the last of them."""


class Spelling:
    """What a tokenizer's pieces spell.

    Args:
        tokenizer: One that `cannot_read_bytes` allows.
    """

    def __init__(self, tokenizer: Any):
        table = table_of(tokenizer)
        self._tokenizer, self._backend = tokenizer, tokenizer.backend_tokenizer
        self._letters = byte_of_letter() if is_byte_level(table) else None
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        self.start, self.end = int(start), tokenizer.eos_token_id
        aside = {token["id"] for token in table["added_tokens"]} | _unknown(table)
        found = ((self._spelled(piece), index) for index, piece in pieces_of(table).items() if index not in aside)
        pairs = sorted((spelled, index) for spelled, index in found if spelled)
        self._spelled_by = {index: spelled for spelled, index in pairs}
        self.ids_V = np.array([index for _, index in pairs])
        """The pieces in the order of their bytes."""
        self._sorted = [spelled for spelled, _ in pairs]
        self._longest = max(map(len, self._sorted))
        self._forks: dict[bytes, Forks | None] = {}
        self._known: dict[str, tuple[int, ...]] = {}
        self.hidden = len(self._bytes_of(self._words("a"))) - 1
        """Bytes before a text that are no part of it: 0, or 1 for a space."""

    def _spelled(self, piece: str) -> bytes:
        """The bytes of a piece; none if it stands for no text."""
        if self._letters is not None:
            return bytes(self._letters[letter] for letter in piece) if set(piece) <= self._letters.keys() else b""
        byte = _BYTE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace(_SIGN, _SPACE).encode()

    def forks(self, begun: bytes) -> Forks | None:
        """The pieces that begin with some bytes and go on, by the byte after them; None if there is none."""
        if len(begun) >= self._longest:
            return None
        if begun not in self._forks:
            if len(self._forks) > _MOST_WORDS:
                self._forks.clear()
            first = bisect_right(self._sorted, begun)
            stop = bisect_left(self._sorted, begun + _AFTER_ALL)
            bytes_after = np.array([piece[len(begun)] for piece in self._sorted[first:stop]], dtype=np.int64)
            following, places = np.unique(bytes_after, return_index=True)
            self._forks[begun] = Forks(following, first + places, stop) if len(following) else None
        return self._forks[begun]

    def check(self, text: str) -> None:
        """Refuse a text that the tokenizer does not give back as it is.

        Raises:
            BadInput: With the reason, as a part of a sentence.
        """
        there, wanted = self._bytes_of(self._words(text)), self._hidden_bytes + text.encode()
        if there != wanted and (not wanted.startswith(there) or wanted[len(there) :].strip(b" ")):
            raise BadInput(f"its tokenizer changes the text {text[:_SHOWN]!r} before it cuts it")
        ids = self._ids(self._words(text))
        if any(index not in self._spelled_by for index in ids):
            missing = next((letter for letter in text if not self._can_spell(letter)), text[:_SHOWN])
            raise BadInput(f"its tokenizer has no piece for {missing!r}")
        if there == wanted and tuple(token_ids([text], self._tokenizer)[0]) != ids:
            raise BadInput(f"its tokenizer cuts the text {text[:_SHOWN]!r} by tokens that are no pieces of text")

    def beginnings(self, text: str) -> Iterator[Beginning]:
        """Every beginning of the text that the tokenizer can end a piece at, from the empty one on, in order.

        Those that end inside a character are there where its bytes are pieces.
        """
        yield Beginning(0, 0, (self.start,))
        hidden = self._ids(self._with_hidden([]))
        if hidden and set(hidden) <= self._spelled_by.keys():
            yield Beginning(1, 0, (self.start, *hidden))
        place, begun = self.hidden, 0
        settled: tuple[int, ...] = (self.start,)
        for stop in range(1, len(text) + 1):
            words = self._with_hidden(self._words(text[begun:stop]))
            if len(words) > 2 * _UNSETTLED and (cut := self._settled(text[begun:stop], words)):
                settled += self._ids(words[:-_UNSETTLED])
                words, begun = words[-_UNSETTLED:], begun + cut
            num_bytes = len(text[stop - 1].encode())
            before = (*settled, *self._ids(words[:-1]))
            for inside, ids in self._inside(words[-1], num_bytes):
                yield Beginning(place + inside, stop - 1, (*before, *ids), is_whole=False)
            place += num_bytes
            yield Beginning(place, stop, (*before, *self._ids(words[-1:])))

    def _settled(self, text: str, words: Sequence[str]) -> int:
        """The character at which the last `_UNSETTLED` words of a text begin, if they are cut alike without the others;
        else 0. What follows does not change words so far back."""
        if self._backend.pre_tokenizer is None:
            return 0
        begun = len(self._bytes_of(words[:-_UNSETTLED])) - (self.hidden if text[:1] != _SPACE else 0)
        cut = len(text.encode()[:begun].decode(errors="ignore"))
        return cut if self._words(text[cut:]) == list(words[-_UNSETTLED:]) else 0

    def num_tokens(self, text: str) -> int:
        """Tokens of a text, the start token counted in."""
        return 1 + len(self._ids(self._words(text)))

    @property
    def _hidden_bytes(self) -> bytes:
        return b" " * self.hidden

    def _with_hidden(self, words: list[str]) -> list[str]:
        return words or ([_BYTE_SPACE if self._letters is not None else _SIGN] if self.hidden else [])

    def _inside(self, word: str, num_bytes: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The tokens of a word up to each byte inside its last character, which has `num_bytes`."""
        if num_bytes == 1:
            return
        if self._letters is not None:
            for inside in range(1, num_bytes):
                cut = word[: len(word) - (num_bytes - inside)]
                yield inside, self._ids([cut]) if cut else ()
            return
        ids = self._ids([word])
        if all(len(self._spelled_by.get(index, b"??")) == 1 for index in ids[-num_bytes:]):
            for inside in range(1, num_bytes):
                yield inside, ids[: len(ids) - (num_bytes - inside)]

    def _words(self, text: str) -> list[str]:
        """The words of a text, spelled as pieces are; spaces at its end, which some tokenizers drop, are words too."""
        backend = self._backend
        clean = backend.normalizer.normalize_str(text) if backend.normalizer is not None else text
        pre = backend.pre_tokenizer
        words = [word for word, _ in pre.pre_tokenize_str(clean)] if pre is not None else [clean] if clean else []
        lost = len(text) - len(text.rstrip(_SPACE))
        if self._letters is None and lost:
            joined = "".join(words)
            words += [_SIGN] * (lost - (len(joined) - len(joined.rstrip(_SIGN + _SPACE))))
        return words

    def _bytes_of(self, words: Sequence[str]) -> bytes:
        if self._letters is not None:
            return bytes(self._letters[letter] for word in words for letter in word)
        return "".join(words).replace(_SIGN, _SPACE).encode()

    def _ids(self, words: Sequence[str]) -> tuple[int, ...]:
        return tuple(index for word in words for index in self._cut(word))

    def _cut(self, word: str) -> tuple[int, ...]:
        found = self._known.get(word)
        if found is None:
            found = tuple(token.id for token in self._backend.model.tokenize(word))
            if len(word) <= _LONG_WORD and len(self._known) < _MOST_WORDS:
                self._known[word] = found
        return found

    def _can_spell(self, letter: str) -> bool:
        return all(index in self._spelled_by for index in self._ids(self._words(letter)))


def _unknown(table: dict[str, Any]) -> set[int]:
    model = table["model"]
    found = model.get("unk_id") if algorithm(table) == "Unigram" else model["vocab"].get(model.get("unk_token"))
    return set() if found is None else {int(found)}
