"""A language model over tokens as one over bytes: the probability of every next byte, after Phan et al. 2025.

The tokens of a text that ends in mid-sentence are not known: its last bytes may belong to a longer token. So the
probability of a text's bytes is the sum over its *covers*: a beginning of the text as the tokenizer cuts it, and one
token that begins there and reaches to the end or beyond ("Exact byte-level probabilities from tokenized language
models", arXiv 2410.09303). Covers whose last token the tokenizer would not have chosen there count with the little
probability that the model gives them. The next byte's distribution is normalised over the 256 bytes and the text's end.

A text longer than the model's context is read in windows. Where one ends, and where the next one begins, depends on the
text before alone, so the probabilities of all texts still sum to 1.

Shape letters: `T` bytes, `V` tokens, `N` tokens of one context.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from clustering.errors import BadInput
from xelm.vocabulary.spelling import Beginning, Spelling
from xelm.vocabulary.token_tree import TokenTree, read_tree

END = 256
"""The column of the text's end, after those of the 256 bytes."""
_FEWEST_TOKENS = 16
_SPARE = 8
"""A window ends where one in so many of the context's tokens, and at least `_FEWEST_SPARE`, are left: a character more
may take several."""
_FEWEST_SPARE = 4
_LOOKED_AT = 64
"""Characters within which a window is begun at a space."""


class ByteModel:
    """An expert read byte by byte.

    Args:
        model: A causal language model of transformers.
        spelling: What its tokenizer's pieces spell.
        context: Most tokens that it reads.

    Raises:
        BadInput: If the context has no room.
    """

    def __init__(self, model: Any, spelling: Spelling, context: int):
        if context < _FEWEST_TOKENS:
            raise BadInput(f"context={context} leaves no room to read bytes in: {_FEWEST_TOKENS} tokens at least.")
        self._model, self._spelling, self._context = model, spelling, context

    def next_bytes(self, text: str) -> np.ndarray:
        """Log-probabilities of the next byte after every beginning of a text.

        Args:
            text: The text, T bytes.

        Returns:
            Row t is the distribution after the first t bytes: 256 bytes, then the end; shape (T + 1, 257), in nats;
            its exponentials sum to 1.

        Raises:
            BadInput: If the tokenizer does not give the text back as it is.
        """
        self._spelling.check(text)
        parts, told = list[np.ndarray](), 0
        for first, stop, beginnings in self._windows(text):
            rows = self._window(text[first:stop], beginnings)
            parts.append(rows[told - _num_bytes(text[:first]) :])
            told += len(parts[-1])
        return np.concatenate(parts)

    def log_probs(self, text: str) -> np.ndarray:
        """Log-probabilities of a text's own bytes, shape (T,), in nats."""
        raw = np.frombuffer(text.encode(), dtype=np.uint8)
        return np.asarray(self.next_bytes(text)[np.arange(len(raw)), raw])

    def _windows(self, text: str) -> Iterator[tuple[int, int, list[Beginning]]]:
        """The first character of each window, one past its last, and the beginnings of its text."""
        first = stop = 0
        while True:
            first, before = (self._next_first(text, first, stop) if stop else 0), stop
            found = list[Beginning]()
            for beginning in self._spelling.beginnings(text[first:]):
                found.append(beginning)
                stop = max(before, first + beginning.characters)
                if beginning.is_whole and len(beginning.ids) > self._most and stop > before:
                    break
            yield first, stop, [one for one in found if len(one.ids) <= self._context]
            if stop >= len(text):
                return

    @property
    def _most(self) -> int:
        """Tokens after which a window ends."""
        return self._context - max(_FEWEST_SPARE, self._context // _SPARE)

    def _next_first(self, text: str, first: int, stop: int) -> int:
        """Where the window begins after one that held some characters; nothing behind their end is looked at."""
        begin = (first + stop) // 2
        while begin < stop and self._spelling.num_tokens(text[begin:stop]) > 3 * self._most // 4:
            begin += (stop - begin + 1) // 2
        space = text.find(" ", begin, min(stop, begin + _LOOKED_AT))
        begin = begin if space < 0 else space
        # A tokenizer that puts a space before a text puts none before a space.
        rest = text[begin:stop]
        return begin + (len(rest) - len(rest.lstrip(" ")) if self._spelling.hidden else 0)

    def _window(self, text: str, beginnings: list[Beginning]) -> np.ndarray:
        """The rows of a text within the context."""
        raw = b" " * self._spelling.hidden + text.encode()
        tree, places = TokenTree(), dict[int, list[int]]()
        for beginning in beginnings:
            places.setdefault(tree.add(beginning.ids), []).append(beginning.place)
        mass = np.full((len(raw) + 1, END + 1), -np.inf)
        for node, log_prob, next_V in read_tree(tree, self._model):
            for place in places.get(node, ()):
                self._spread(mass, raw, place, log_prob, next_V)
        rows = mass[self._spelling.hidden :]
        with np.errstate(divide="ignore"):
            return np.asarray(rows - np.logaddexp.reduce(rows, axis=1, keepdims=True))

    def _spread(self, mass: np.ndarray, raw: bytes, place: int, log_prob: float, next_log_V: np.ndarray) -> None:
        """Add what the tokens that may begin at `place` say of each later byte, in place."""
        spelling = self._spelling
        probs_V = np.exp(next_log_V[spelling.ids_V])
        for depth in range(len(raw) - place + 1):
            forks = spelling.forks(raw[place : place + depth])
            if forks is None:
                break
            with np.errstate(divide="ignore"):
                said = log_prob + np.log(np.add.reduceat(probs_V[: forks.stop], forks.starts))
            row = mass[place + depth]
            row[forks.following] = np.logaddexp(row[forks.following], said)
        if spelling.end is not None:
            mass[place, END] = np.logaddexp(mass[place, END], log_prob + next_log_V[spelling.end])


def _num_bytes(text: str) -> int:
    return len(text.encode())
