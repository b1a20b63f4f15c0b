"""Answers in the form of OpenAI's API, whole and in pieces."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from router.routes.weigh import Route
from xelm.serving.engine.jobs import Answer, Event
from xelm.serving.engine.sampling import TokenLogProb

_LOWEST_NATS = -9999.0
"""The value for minus infinity, which JSON does not have."""


@dataclass
class Choice:
    """One answer in the form that the client gets."""

    text: str = ""
    finish_reason: str | None = None
    route: Route | None = None
    log_probs: list[TokenLogProb] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Add an event of the answer."""
        self.text += event.text
        self.finish_reason = event.finish_reason or self.finish_reason
        self.route = event.route or self.route
        self.log_probs += event.log_probs


class Envelope:
    """The common fields of all parts of one answer to POST /v1/completions."""

    prefix, whole_object, piece_object = "cmpl-", "text_completion", "text_completion"

    def __init__(self, model: str, tokenizer: Any, *, log_probs: bool):
        self._id, self._created = self.prefix + uuid.uuid4().hex, int(time.time())
        self._model, self._tokenizer, self._log_probs = model, tokenizer, log_probs

    def whole(self, choices: Sequence[Choice], answers: Sequence[Answer]) -> dict[str, Any]:
        """The answer in one piece."""
        rows = [self.whole_choice(index, choice) for index, choice in enumerate(choices)]
        return {**self._head(self.whole_object), "choices": rows, "usage": _usage(answers)}

    def piece(self, event: Event) -> dict[str, Any]:
        """One chunk of a streamed answer."""
        choice = Choice()
        choice.take(event)
        return {**self._head(self.piece_object), "choices": [self.piece_choice(event.index, choice)]}

    def usage_piece(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The last chunk of a streamed answer, if the client wants its tokens counted."""
        return {**self._head(self.piece_object), "choices": [], "usage": _usage(answers)}

    def whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        """An answer or a piece of one; both have the same form."""
        logprobs = self._text_logprobs(choice.log_probs) if self._log_probs else None
        row = {"index": index, "text": choice.text, "finish_reason": choice.finish_reason, "logprobs": logprobs}
        return _with_route(row, choice.route)

    piece_choice = whole_choice

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _text_logprobs(self, log_probs: Sequence[TokenLogProb]) -> dict[str, Any]:
        return {
            "tokens": [self._spelling(one.token) for one in log_probs],
            "token_logprobs": [_nats(one.log_prob) for one in log_probs],
            "top_logprobs": [self._top(one) for one in log_probs],
            "text_offset": self._offsets([one.token for one in log_probs]),
        }

    def _offsets(self, tokens: Sequence[int]) -> list[int]:
        """The position in the text at which each token begins; tokens of the same character have the same position."""
        offsets, begun, position = [], list[int](), 0
        for token in tokens:
            offsets.append(position)
            begun.append(token)
            text = str(self._tokenizer.decode(begun))
            if not text.endswith("\ufffd"):
                position, begun = position + len(text), []
        return offsets

    def _top(self, one: TokenLogProb) -> dict[str, float] | None:
        if one.log_prob is None:
            return None
        # The chosen token is always among them, as in OpenAI's answers.
        return {self._spelling(token): _nats(nats) for token, nats in [*one.top, (one.token, one.log_prob)]}  # type: ignore[misc]

    def _spelling(self, token: int) -> str:
        text = str(self._tokenizer.decode([token]))
        # Part of a character has no text of its own; the vocabulary's name tells such tokens apart.
        return str(self._tokenizer.convert_ids_to_tokens(token)) if "\ufffd" in text else text


class ChatEnvelope(Envelope):
    """The common fields of all parts of one answer to POST /v1/chat/completions."""

    prefix, whole_object, piece_object = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        """An answer as a message."""
        return self._choice(index, choice, "message", {"role": "assistant", "content": choice.text})

    def piece_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        """A piece of an answer; the first one, which has the route, names the role."""
        delta = {"role": "assistant"} if choice.route else {}
        return self._choice(index, choice, "delta", {**delta, "content": choice.text})

    def _choice(self, index: int, choice: Choice, name: str, message: dict[str, Any]) -> dict[str, Any]:
        logprobs = {"content": [self._described(one) for one in choice.log_probs]} if self._log_probs else None
        row = {"index": index, name: message, "finish_reason": choice.finish_reason, "logprobs": logprobs}
        return _with_route(row, choice.route)

    def _described(self, one: TokenLogProb) -> dict[str, Any]:
        top = [self._token(token, nats) for token, nats in one.top]
        return {**self._token(one.token, one.log_prob or 0.0), "top_logprobs": top}

    def _token(self, token: int, nats: float) -> dict[str, Any]:
        text = self._spelling(token)
        return {"token": text, "logprob": _nats(nats), "bytes": list(text.encode())}


def error_body(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients expect it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _with_route(row: dict[str, Any], route: Route | None) -> dict[str, Any]:
    return {**row, "route": asdict(route)} if route else row


def _nats(value: float | None) -> float | None:
    return None if value is None else max(value, _LOWEST_NATS)


def _usage(answers: Sequence[Answer]) -> dict[str, int]:
    """Number of tokens of prompts (each counted once, however many answers it has) and of answers."""
    prompt_tokens = sum(len(prompt.ids) for prompt in {id(a.prompt): a.prompt for a in answers}.values())
    completion_tokens = sum(len(answer.tokens) for answer in answers)
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}
