"""What a client asked for, as the engine works on it, and what comes back while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from router.routes.weigh import Route
from xelm.inference.stream import TextGrowth
from xelm.serving.engine.sampling import Sampling, TokenLogProb


@dataclass(frozen=True)
class Event:
    """News of one answer."""

    index: int = -1
    """Which answer of the job; -1 for the job as a whole."""
    text: str = ""
    """What it gained."""
    finish_reason: str | None = None
    """`stop` (it ended by itself) or `length`, once it has ended."""
    route: Route | None = None
    """Where its prompt went, in its first event."""
    log_probs: tuple[TokenLogProb, ...] = ()
    """Of the tokens it gained, where the client wants them."""
    error: str | None = None
    """Why the job failed."""
    status: int = 500
    """Of HTTP, for an error."""
    is_end: bool = False
    """Whether nothing more of the job comes."""


@dataclass(frozen=True)
class Prompt:
    """What an answer continues."""

    text: str
    """The text, which decides the route."""
    ids: list[int]
    """Its tokens, after the start token where it was given as text."""
    num_lead: int = 0
    """How many of them are the start token: 0 where the client gave tokens."""


class Answer:
    """One answer while it grows: a row of a batch, which several passes may bring to its end.

    Args:
        prompt: What it continues.
        max_tokens: Most tokens to add.
        growth: Turns tokens into text.
        end_tokens: Tokens at which it ends.
        sampling: How its tokens are chosen.
        number: Which of the answers to one prompt it is: with a seed, they differ.
        num_logprobs: How many of the likeliest tokens are kept at each place; None: no log-probabilities at all.
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
        self.finish_reason: str | None = None if max_tokens else "length"
        self.log_probs: list[TokenLogProb] = []

    @property
    def tokens(self) -> list[int]:
        """Tokens of the answer so far."""
        return self._growth.tokens

    @property
    def ids(self) -> list[int]:
        """Prompt and answer so far: where the next pass goes on."""
        return [*self.prompt.ids, *self.tokens]

    @property
    def num_left(self) -> int:
        """Tokens that it may still get."""
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
        """Take a token; returns the text that it settles. Sets `finish_reason` with the last one."""
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
    """To be filled."""
    policy: str
    """A policy or an expert's name."""
    deadline_s: float
    """By `time.monotonic`; what is not done then is given up."""
    tell: Callable[[Event], None]
    """Called with each `Event`, from the engine's thread."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    num_passes: int = 0
    """How many passes it had a share in."""

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.cancelled.is_set() or time.monotonic() > self.deadline_s

    @property
    def unfinished(self) -> list[int]:
        """Which answers are not at their end."""
        return [index for index, answer in enumerate(self.answers) if answer.finish_reason is None]

    @property
    def is_done(self) -> bool:
        """Whether every answer has come to its end."""
        return not self.unfinished
