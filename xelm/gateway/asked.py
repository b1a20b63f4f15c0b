"""What a request asks for: its texts, the model that it names, and how it is split among experts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ROUTED = ("top1", "auto")
"""Models that let the router choose; also a request that names none."""
MAX_PROMPTS = 64


class RefusedError(Exception):
    """A request that the gateway answers itself, with an error."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code

    def body(self) -> bytes:
        """The error in the form that OpenAI's clients read."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": str(self), "type": kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        body: Its JSON object.
        texts: The texts that are routed: each prompt, or the last user's turn of a chat.
        prompts: The prompts as they were given; None for a chat.
    """

    body: dict[str, Any]
    texts: list[str]
    prompts: list[Any] | None

    @property
    def streams(self) -> bool:
        """Whether the answer comes in pieces."""
        return bool(self.body.get("stream"))

    def part(self, model: str, rows: Sequence[int]) -> bytes:
        """The request for one expert: its name there, and those of the prompts that it answers."""
        changed = {**self.body, "model": model}
        if self.prompts is not None and len(self.prompts) > 1:
            changed["prompt"] = [self.prompts[row] for row in rows]
        return json.dumps(changed).encode()


def read_request(raw: bytes, *, chat: bool, decode: Callable[[list[int]], str]) -> Asked:
    """Read a body of POST /v1/completions or /v1/chat/completions.

    Args:
        raw: The body.
        chat: Whether it is a chat.
        decode: From token ids to text.

    Raises:
        RefusedError: If it holds no text to route by.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(400, f"the body is a {type(body).__name__}; a JSON object is expected.")
    if chat:
        return Asked(body, [_last_user_turn(body.get("messages"))], None)
    prompts = _prompts(body.get("prompt"))
    return Asked(body, [prompt if isinstance(prompt, str) else decode(prompt) for prompt in prompts], prompts)


def _prompts(given: Any) -> list[Any]:
    many = isinstance(given, list) and given and not isinstance(given[0], int)
    prompts = given if many else [given]
    if len(prompts) > MAX_PROMPTS:
        raise RefusedError(400, f"{len(prompts)} prompts; at most {MAX_PROMPTS} go in one request.")
    for prompt in prompts:
        ids = isinstance(prompt, list) and prompt and all(type(token) is int and token >= 0 for token in prompt)
        if not isinstance(prompt, str) and not ids:
            raise RefusedError(400, "prompt: a string, token ids, or a list of either is expected.")
    return prompts


def _last_user_turn(messages: Any) -> str:
    rows = messages if isinstance(messages, list) else []
    for row in reversed(rows):
        if isinstance(row, dict) and row.get("role") == "user":
            content = row.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
            return "".join(texts)
    raise RefusedError(400, "messages: one of them must be of the role user, since its text decides the route.")


def merged(parts: Sequence[tuple[Sequence[int], dict[str, Any]]], num_prompts: int) -> dict[str, Any]:
    """One answer from those of several experts.

    Args:
        parts: For each expert the numbers of the prompts that it answered, and its answer.
        num_prompts: Number of prompts of the request.
    """
    answer = dict(parts[0][1])
    choices: list[Any] = []
    usage: dict[str, int] = {}
    for rows, part in parts:
        ordered = sorted(part.get("choices") or [], key=lambda choice: choice.get("index", 0))
        each = max(1, len(ordered) // max(1, len(rows)))
        for place, choice in enumerate(ordered):
            choices.append({**choice, "index": rows[min(place // each, len(rows) - 1)] * each + place % each})
        for name, value in (part.get("usage") or {}).items():
            if isinstance(value, int):
                usage[name] = usage.get(name, 0) + value
    answer["choices"] = sorted(choices, key=lambda choice: choice["index"])
    if usage:
        answer["usage"] = usage
    return answer
