"""Text as it is generated, piece by piece."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xelm.inference.stops import as_stops

# A byte-level token may end inside a character, which decodes to this sign until the rest has come.
_UNFINISHED = "\ufffd"
_DONE = object()


class TextGrowth:
    """Text of tokens that arrive one after another; a part is returned once later tokens cannot change it.

    All pieces together are the decoded answer, cut before the first stop text.

    Args:
        decode: From token ids to text.
        stops: Texts at which the answer ends; they are not part of it.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str] = ()):
        self._decode = decode
        self._stops = tuple(stops)
        self._given = 0
        self.tokens: list[int] = []
        self.stopped = False

    def with_decoder(self, decode: Callable[[list[int]], str]) -> TextGrowth:
        """An empty one with the same stop texts and another tokenizer."""
        return TextGrowth(decode, self._stops)

    def add(self, tokens: Sequence[int]) -> str:
        """The text that is final once `tokens` have arrived; empty after a stop text."""
        if self.stopped:
            return ""
        self.tokens += tokens
        text = self._decode(self.tokens)
        end = len(text.rstrip(_UNFINISHED))
        return self._give(text, end - max((_overlap(text[:end], stop) for stop in self._stops), default=0))

    def finish(self) -> str:
        """The text that was held back until now."""
        text = self._decode(self.tokens)
        return "" if self.stopped else self._give(text, len(text))

    def _give(self, text: str, end: int) -> str:
        cut = cut_at(text, self._stops)
        if cut < len(text):
            end, self.stopped = cut, True
        piece = text[self._given : end]
        self._given = max(self._given, end)
        return piece


def cut_at(text: str, stops: Sequence[str]) -> int:
    """Where the first stop text begins; the text's length if there is none."""
    return min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))


def _overlap(text: str, stop: str) -> int:
    """The longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(stop), len(text)), 0, -1) if text.endswith(stop[:n])), 0)


def stream_text(
    run: Callable[..., object], decode: Callable[[list[int]], str], *, stops: Sequence[str] = ()
) -> Iterator[str]:
    """Run a generation in a thread of its own and yield its text as it is generated.

    Leaving the loop early ends the generation after the current token.

    Args:
        run: Called with `streamer` and `stopping_criteria`, as transformers' `generate` takes them.
        decode: From token ids to text.
        stops: Texts at which the answer ends; they are not part of it.

    Yields:
        Pieces of text, none empty.

    Raises:
        Whatever `run` raises.
    """
    import torch
    from transformers import StoppingCriteriaList

    stops = as_stops(stops)
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    left = threading.Event()

    def stop(input_ids: torch.Tensor, _scores: Any, **_kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), left.is_set(), device=input_ids.device)

    def work() -> None:
        try:
            run(streamer=TokenListener(arrived.put), stopping_criteria=StoppingCriteriaList([stop]))
            arrived.put(_DONE)
        except BaseException as error:  # handed to the reader, who raises it
            arrived.put(error)

    growth = TextGrowth(decode, stops)
    thread = threading.Thread(target=work, name="xelm-stream", daemon=True)
    thread.start()
    try:
        while not growth.stopped:
            item = arrived.get()
            if isinstance(item, BaseException):
                raise item
            piece = growth.finish() if item is _DONE else growth.add(item)
            if piece:
                yield piece
            if item is _DONE:
                return
    finally:
        left.set()
        thread.join()


class TokenListener:
    """The streamer that `generate` feeds, first with the prompt, then with one token at a time.

    Args:
        hear: Called with each new token, in a list.
    """

    def __init__(self, hear: Callable[[list[int]], None]):
        self._hear = hear
        self._prompt_seen = False

    def put(self, value: Any) -> None:
        """Take the tokens that `generate` hands over."""
        if self._prompt_seen:
            self._hear(value.flatten().tolist())
        self._prompt_seen = True

    def end(self) -> None:
        """Do nothing when `generate` is done: its caller reports the end itself, once no error can follow."""
