"""Requests and answers in the form of OpenAI's completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from router.routes.weigh import Route
from xelm.serving.jobs import Answer, Sampling

MAX_PROMPTS = 64
MAX_STOPS = 4


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False


class CompletionRequest(BaseModel):
    """The body of POST /v1/completions. What OpenAI has and this has not is taken at its neutral value only."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = "top1"
    prompt: str | list[str]
    max_tokens: int = Field(default=64, ge=1, le=1_000_000)
    temperature: float = Field(default=0.0, ge=0, le=10)
    top_p: float = Field(default=1.0, gt=0, le=1)
    n: int = Field(default=1, ge=1, le=MAX_PROMPTS)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: str | list[str] | None = None
    stream: bool = False
    user: str | None = None
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0)
    suffix: None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    stream_options: StreamOptions | None = None

    @field_validator("temperature", "top_p", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        # JSON writes 1.0 as 1; strict mode would refuse it, but for this.
        return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else value

    @field_validator("prompt")
    @classmethod
    def _some_prompts(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and not 1 <= len(value) <= MAX_PROMPTS:
            raise ValueError(f"{len(value)} prompts; 1 to {MAX_PROMPTS} go in one request")
        return value

    @field_validator("stop")
    @classmethod
    def _some_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > MAX_STOPS or not all(stops):
            raise ValueError(f"1 to {MAX_STOPS} texts are taken, none of them empty")
        return value

    @property
    def prompts(self) -> list[str]:
        """As a list."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def stops(self) -> list[str]:
        """As a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen. Without temperature nothing is drawn, and the seed has no say."""
        if not self.temperature:
            return Sampling(self.model)
        return Sampling(self.model, self.temperature, self.top_p, self.seed)


class Envelope:
    """What all parts of one answer have in common."""

    def __init__(self, model: str):
        self._head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time())}
        self._model = model

    def whole(self, texts: Sequence[str], routes: Sequence[Route | None], answers: Sequence[Answer]) -> dict[str, Any]:
        """The answer in one piece."""
        choices = [
            _choice(index, text, answer.finish_reason, route)
            for index, (text, route, answer) in enumerate(zip(texts, routes, answers, strict=True))
        ]
        return {**self._head, "model": self._model, "choices": choices, "usage": _usage(answers)}

    def piece(self, index: int, text: str, finish_reason: str | None, route: Route | None) -> dict[str, Any]:
        """One chunk of a streamed answer."""
        return {**self._head, "model": self._model, "choices": [_choice(index, text, finish_reason, route)]}

    def usage_piece(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The last chunk of a streamed answer whose client wants its tokens counted."""
        return {**self._head, "model": self._model, "choices": [], "usage": _usage(answers)}


def error_body(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients expect it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _usage(answers: Sequence[Answer]) -> dict[str, int]:
    """Tokens of prompts (each counted once, however many answers it has) and of answers."""
    prompt_tokens = sum(len(ids) for ids in {id(a.ids): a.ids for a in answers}.values())
    completion_tokens = sum(answer.num_tokens for answer in answers)
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


def _choice(index: int, text: str, finish_reason: str | None, route: Route | None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "text": text, "finish_reason": finish_reason, "logprobs": None}
    return {**choice, "route": asdict(route)} if route else choice
