"""Requests in the form of OpenAI's API. A field that this server does not support may only have its neutral value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clustering.ranges import Share
from xelm.serving.engine.sampling import MinP, Penalty, Sampling, Seed, Warmth

MAX_PROMPTS = 64
MAX_STOPS = 4
MAX_LOGPROBS = 20
COLDEST = 0.01
"""Lowest temperature at which tokens are drawn: far below it, logits divided by it overflow."""
Text = Annotated[str, Field(max_length=1_000_000)]
TokenIds = Annotated[list[int], Field(max_length=1_000_000)]


class _Request(BaseModel):
    """A body whose optional fields may be null, as clients send them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        known = cls.model_fields
        return {key: v for key, v in value.items() if v is not None or key not in known or known[key].is_required()}


class StreamOptions(_Request):
    """What a stream contains besides text."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class _Generation(_Request):
    """The common fields of completions and chats."""

    model: str = "top1"
    temperature: Warmth = Sampling.temperature
    top_p: Share = Sampling.top_p
    top_k: int = Field(default=Sampling.top_k, ge=-1, le=1_000_000)
    """Number of most likely tokens to draw from; 0 or -1: all."""
    min_p: MinP = Sampling.min_p
    presence_penalty: Penalty = Sampling.presence_penalty
    frequency_penalty: Penalty = Sampling.frequency_penalty
    n: int = Field(default=1, ge=1, le=MAX_PROMPTS)
    seed: Seed | None = Sampling.seed
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0)
    user: str | None = None
    store: Literal[False] = False
    metadata: dict[str, str] | None = None

    @field_validator("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        # JSON may write 1.0 as 1, which strict mode alone would refuse.
        return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else value

    @field_validator("temperature")
    @classmethod
    def _warm_enough(cls, value: float) -> float:
        if 0 < value < COLDEST:
            raise ValueError(f"{value!r} is too low to draw tokens: 0 takes the likeliest, {COLDEST} and more draw")
        return value

    @field_validator("stop")
    @classmethod
    def _some_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > MAX_STOPS or not all(stops):
            raise ValueError(f"1 to {MAX_STOPS} texts are accepted, none of them empty")
        return value

    @property
    def stops(self) -> list[str]:
        """As a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen."""
        asked = {field.name: getattr(self, field.name) for field in fields(Sampling)}
        return Sampling(**{**asked, "top_k": max(0, self.top_k)})


class CompletionRequest(_Generation):
    """The body of POST /v1/completions."""

    prompt: Text | list[Text] | TokenIds | list[TokenIds]
    """One or several texts, or token ids of one or several."""
    max_tokens: int = Field(default=64, ge=0, le=1_000_000)
    best_of: int | None = None
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    suffix: Literal[""] | None = None

    @field_validator("prompt", mode="after")
    @classmethod
    def _some_prompts(cls, value: Any) -> Any:
        if isinstance(value, list) and not value:
            raise ValueError(f"0 prompts; 1 to {MAX_PROMPTS} go in one request")
        several = isinstance(value, list) and not isinstance(value[0], int)
        if several and len(value) > MAX_PROMPTS:
            raise ValueError(f"{len(value)} prompts; 1 to {MAX_PROMPTS} go in one request")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> CompletionRequest:
        if self.best_of not in (None, self.n):
            raise ValueError(f"best_of={self.best_of}: only the {self.n} answers of n are made; leave it out")
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens=0 asks for nothing, unless echo is true")
        if self.echo and self.stream:
            raise ValueError("echo: not while streaming; leave one of the two out")
        return self

    @property
    def prompts(self) -> Sequence[str] | Sequence[Sequence[int]]:
        """As a list, of texts or of token ids."""
        prompt: Any = self.prompt
        several: Sequence[str] | Sequence[Sequence[int]]
        several = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt
        return several

    @property
    def num_logprobs(self) -> int | None:
        """Number of likeliest tokens wanted at each position; None: no log-probabilities."""
        return self.logprobs


class TextPart(_Request):
    """A piece of a message's content."""

    type: Literal["text"]
    text: Text


class Message(_Request):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=1000)]
    name: str | None = None

    @property
    def text(self) -> str:
        """Its content in one piece."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ResponseFormat(_Request):
    """The form of an answer: text."""

    type: Literal["text"] = "text"


class ChatRequest(_Generation):
    """The body of POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=MAX_LOGPROBS)
    tools: list[Any] | None = Field(default=None, max_length=0)
    tool_choice: Literal["none"] | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ChatRequest:
        if not any(message.role == "user" for message in self.messages):
            raise ValueError("messages: one of them must be of the role user, since its text decides the route")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true")
        return self

    @property
    def num_logprobs(self) -> int | None:
        """Number of likeliest tokens wanted at each position; None: no log-probabilities."""
        return self.top_logprobs if self.logprobs else None


class RouteRequest(_Request):
    """The body of POST /v1/route."""

    input: Text | list[Text]
    spans: bool = False

    @field_validator("input")
    @classmethod
    def _some_texts(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list) and not 1 <= len(value) <= MAX_PROMPTS:
            raise ValueError(f"{len(value)} texts; 1 to {MAX_PROMPTS} go in one request")
        return value

    @property
    def texts(self) -> list[str]:
        """As a list."""
        return [self.input] if isinstance(self.input, str) else self.input
