"""What a client asked for, as the engine works on it, and what comes back while it works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.routes.weigh import Route
from xelm.inference.stream import TextGrowth


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; jobs that agree in it may share a batch.

    Attributes:
        policy: A policy or an expert's name.
        temperature: 0 takes the likeliest token.
        top_p: Share of probability that is kept, (0, 1].
        seed: Of a job that must be answered alone, so that nobody else draws from its generator; None: any batch.
    """

    policy: str
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """As transformers' `generate` takes it."""
        if not self.temperature:
            # Defaults of a checkpoint that samples would otherwise be warned about.
            return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        return {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}


@dataclass(frozen=True)
class Event:
    """News of one answer.

    Attributes:
        index: Which answer of the job; -1 for the job as a whole.
        text: What it gained.
        finish_reason: `stop` (it ended by itself) or `length`, once it has ended.
        route: Where its prompt went, in its first event.
        error: Why the job failed.
        status: Of HTTP, for an error.
        is_end: Whether nothing more of the job comes.
    """

    index: int = -1
    text: str = ""
    finish_reason: str | None = None
    route: Route | None = None
    error: str | None = None
    status: int = 500
    is_end: bool = False


class Answer:
    """One answer while it grows: a row of a batch.

    Args:
        prompt: Text.
        ids: Its tokens.
        max_tokens: Most tokens to add, >= 1.
        growth: Turns tokens into text.
        end_tokens: Tokens at which it ends.
    """

    def __init__(
        self, prompt: str, ids: Sequence[int], max_tokens: int, growth: TextGrowth, end_tokens: frozenset[int]
    ):
        self.prompt, self.ids, self.max_tokens = prompt, ids, max_tokens
        self._growth, self._end_tokens = growth, end_tokens
        self.finish_reason: str | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens of the answer so far."""
        return len(self._growth.tokens)

    def add(self, token: int) -> str:
        """Take a token; returns the text that it settles. Sets `finish_reason` with the last one."""
        text = self._growth.add([token])
        if self._growth.stopped or token in self._end_tokens:
            self.finish_reason = "stop"
        elif self.num_tokens >= self.max_tokens:
            self.finish_reason = "length"
        return text + self._growth.finish() if self.finish_reason else text


@dataclass(eq=False)
class Job:
    """A request: answers that are generated under one sampling.

    Attributes:
        answers: To be filled.
        sampling: How.
        deadline_s: By `time.monotonic`; what is not done then is given up.
        tell: Called with each `Event`, from the engine's thread.
    """

    answers: list[Answer]
    sampling: Sampling
    deadline_s: float
    tell: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.cancelled.is_set() or time.monotonic() > self.deadline_s

    @property
    def has_begun(self) -> bool:
        """Whether a token of it has been generated."""
        return any(answer.num_tokens for answer in self.answers)

    @property
    def is_done(self) -> bool:
        """Whether every answer has come to its end."""
        return all(answer.finish_reason for answer in self.answers)
