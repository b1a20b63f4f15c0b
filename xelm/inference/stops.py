"""Texts at which an answer ends. They count in the answer alone, never across the end of its prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from clustering.errors import BadInput
from router.texts import as_texts

# A stop text of n bytes spans at most n tokens; the rest leaves room for special tokens and cut characters before it.
_MARGIN_TOKENS = 16


def as_stops(stops: Iterable[str]) -> list[str]:
    """The stop texts as a list.

    Raises:
        BadInput: If they are one string, or one of them is empty, which every answer would begin with.
    """
    given = as_texts(stops, "stop text")
    if not all(given):
        raise BadInput("a stop text is empty, so every answer would end before it begins. Leave it out.")
    return given


class AnswerStops:
    """A stopping criterion of transformers' `generate`: a row ends once its answer holds a stop text.

    Args:
        stops: At least one, none empty.
        decode: From token ids to text.
        num_prompt: Number of tokens before the answers, including padding.
    """

    def __init__(self, stops: Sequence[str], decode: Callable[[list[int]], str], num_prompt: int):
        self._stops, self._decode, self._num_prompt = tuple(stops), decode, num_prompt
        self._num_tail = max(len(stop.encode()) for stop in stops) + _MARGIN_TOKENS

    def __call__(self, input_ids: Any, _scores: Any, **_kwargs: Any) -> Any:
        """Which rows have ended, shape (B,), bool."""
        import torch

        start = max(self._num_prompt, input_ids.shape[1] - self._num_tail)
        done = [holds(self._decode(tokens), self._stops) for tokens in input_ids[:, start:].tolist()]
        return torch.tensor(done, device=input_ids.device)


def holds(text: str, stops: Sequence[str]) -> bool:
    """Whether the text contains one of the stop texts."""
    return any(stop in text for stop in stops)


def until_stop(tokens: list[int], stops: Sequence[str], decode: Callable[[list[int]], str]) -> list[int]:
    """The tokens up to the one that completes a stop text; all if none does. Later tokens only filled the batch."""
    if not stops or not holds(decode(tokens), stops):
        return tokens
    return tokens[: bisect_left(range(len(tokens) + 1), True, key=lambda n: holds(decode(tokens[:n]), stops))]
