"""A client's request in the form that the engine works on, and the events that come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from router.routes.weigh import Route
from xelm.inference.stream import TextGrowth
from xelm.serving.engine.sampling import Sampling, TokenLogProb

if TYPE_CHECKING:
    from router.mixture.kept import KeptBatch, KeptRow


@dataclass(frozen=True)
class Event:
    """An event of one answer."""

    index: int = -1
    """Index of the answer in the job; -1 for the job as a whole."""
    text: str = ""
    """The new text of the answer."""
    finish_reason: str | None = None
    """`stop` (it ended by itself) or `length`, once it has ended."""
    route: Route | None = None
    """The route of its prompt, in its first event."""
    log_probs: tuple[TokenLogProb, ...] = ()
    """Log-probabilities of the new tokens, if the client wants them."""
    error: str | None = None
    """Why the job failed."""
    status: int = 500
    """The HTTP status of an error."""
    is_end: bool = False
    """Whether this is the last event of the job."""


@dataclass(frozen=True)
class Prompt:
    """The text that an answer continues."""

    text: str
    """The text, which decides the route."""
    ids: list[int]
    """Its tokens; if it was given as text, the start token comes first."""
    num_lead: int = 0
    """How many of them are start tokens: 0 if the client gave tokens."""


class Answer:
    """One answer while it grows: a row of a batch, which may need several passes.

    Args:
        prompt: The prompt that it continues.
        max_tokens: Most tokens to add.
        growth: Turns tokens into text.
        end_tokens: Tokens at which it ends.
        sampling: How its tokens are chosen.
        number: Its number among the answers to one prompt, which differ even with a seed.
        num_logprobs: How many of the likeliest tokens are kept at each position; None: no log-probabilities.
    """

    def __init__(
        self,
        prompt: Prompt,
        max_tokens: int,
        growth: TextGrowth,
        end_tokens: frozenset[int],
        sampling: Sampling,
        *,
        number: int = 0,
        num_logprobs: int | None = None,
    ):
        self.prompt, self.max_tokens, self.sampling, self.num_logprobs = prompt, max_tokens, sampling, num_logprobs
        self._growth, self._end_tokens, self._number = growth, end_tokens, number
        self.route: Route | None = None
        self.is_announced = False
        """Whether the client was told the route."""
        self.group: Hashable = None
        """What answers share that can be computed together, known with the route."""
        self.reader: str | None = None
        """The expert that answers alone, known with the route; None if several do."""
        self.finish_reason: str | None = None if max_tokens else "length"
        self.log_probs: list[TokenLogProb] = []
        self.kept: KeptRow | None = None
        """The cache of its tokens, while it is in no pass."""
        self.is_shared = False
        """Whether its cache was offered to prompts that begin alike."""

    def read_with(self, ids: list[int], decode: Callable[[list[int]], str], room: int) -> None:
        """Read prompt and answer with its experts' tokenizer, which leaves so much room; before the first token."""
        self.max_tokens = min(self.max_tokens, room)
        self.prompt = replace(self.prompt, ids=ids)
        self._growth = self._growth.with_decoder(decode)

    @property
    def tokens(self) -> list[int]:
        """Tokens of the answer so far."""
        return self._growth.tokens

    @property
    def ids(self) -> list[int]:
        """The tokens of prompt and answer so far, from which the next pass continues."""
        return [*self.prompt.ids, *self.tokens]

    def take_kept(self, models: object) -> KeptRow | None:
        """Its cache, which is then no longer kept here; None if there is none that `models` made of all tokens but the
        last."""
        kept, self.kept = self.kept, None
        is_current = kept and kept.batch.models is models and kept.num_tokens == len(self.ids) - 1
        return kept if is_current else None

    @property
    def num_left(self) -> int:
        """Number of tokens that it may still get."""
        return self.max_tokens - len(self.tokens)

    @cached_property
    def generator(self) -> Any:
        """The answer's own source of randomness."""
        import torch

        generator = torch.Generator()
        if self.sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed((self.sampling.seed + self._number) % 2**63)
        return generator

    def add(self, token: int) -> str:
        """Add a token and return the text that is now final. The last token sets `finish_reason`."""
        text = self._growth.add([token])
        if self._growth.stopped or token in self._end_tokens:
            self.finish_reason = "stop"
        elif not self.num_left:
            self.finish_reason = "length"
        return text + self._growth.finish() if self.finish_reason else text


@dataclass(eq=False)
class Job:
    """A request: answers under one policy."""

    answers: Sequence[Answer]
    """The answers to generate."""
    policy: str
    """A policy or an expert's name."""
    deadline_s: float
    """A time of `time.monotonic`; answers that are unfinished then are ended."""
    tell: Callable[[Event], None]
    """Called with each `Event`, from the engine's thread."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    num_passes: int = 0
    """Number of passes that it took part in."""
    is_ended: bool = False
    """Whether the client was told that it is over."""

    def end(self, event: Event) -> None:
        """Send the last event, once."""
        if not self.is_ended:
            self.is_ended = True
            self.tell(event)

    @property
    def is_over(self) -> bool:
        """Whether no client waits for it any more."""
        return self.cancelled.is_set() or time.monotonic() > self.deadline_s

    @property
    def unfinished(self) -> list[int]:
        """Indices of the answers that are unfinished."""
        return [index for index, answer in enumerate(self.answers) if answer.finish_reason is None]

    @property
    def is_done(self) -> bool:
        """Whether every answer is finished."""
        return not self.unfinished


def drop_oldest(answers: Iterable[Answer], max_bytes: int) -> None:
    """Keep no more than so many bytes of caches: answers of the batches kept longest are read again."""
    of_batch = _by_batch(answers)
    num_bytes = sum(batch.num_bytes for batch in of_batch)
    for batch in sorted(of_batch, key=lambda batch: batch.kept_s):
        if num_bytes <= max_bytes:
            return
        num_bytes -= batch.num_bytes
        for answer in of_batch[batch]:
            answer.kept = None


def num_kept_bytes(answers: Iterable[Answer]) -> int:
    """Memory of the caches that answers keep."""
    return sum(batch.num_bytes for batch in _by_batch(answers))


def _by_batch(answers: Iterable[Answer]) -> dict[KeptBatch, list[Answer]]:
    found: dict[KeptBatch, list[Answer]] = {}
    for answer in answers:
        if (kept := answer.kept) is not None:
            found.setdefault(kept.batch, []).append(answer)
    return found
