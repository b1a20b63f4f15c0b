"""Chats as prompts: the base's chat template, in which messages stay plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clustering.errors import BadInput
from xelm.serving.engine.jobs import Prompt
from xelm.serving.schema import Message

# Characters of Unicode's private use area, which no template and no text of a language contains.
_MARK = "\ue000{number}\ue001"


def chat_prompt(messages: Sequence[Message], tokenizer: Any) -> Prompt:
    """The prompt of a chat: all turns in the form that the base was trained on, routed by the last user's turn.

    If a message spells a special token, it stays text; only the template's own special tokens are special.

    Raises:
        BadInput: If the base has no chat template, or the template refuses the turns.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise BadInput("this run's base has no chat template, so it cannot chat. Use POST /v1/completions.")
    route_by = next(message.text for message in reversed(messages) if message.role == "user")
    rendered = _render([{"role": _role(m), "content": m.text} for m in messages], tokenizer)
    spellings = [token for token in tokenizer.all_special_tokens if any(token in m.text for m in messages)]
    ids = _plain_ids(rendered, tokenizer) if not spellings else _careful_ids(messages, tokenizer)
    return Prompt(route_by, ids)


def _role(message: Message) -> str:
    return "system" if message.role == "developer" else message.role


def _render(rows: list[dict[str, str]], tokenizer: Any) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise BadInput(f"the base's chat template does not take these messages: {error}") from None


def _plain_ids(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _careful_ids(messages: Sequence[Message], tokenizer: Any) -> list[int]:
    """Token ids of messages that spell a special token: their text is inserted after the template is tokenised."""
    marks = {_MARK.format(number=number): message.text for number, message in enumerate(messages)}
    rows = [{"role": _role(m), "content": mark} for m, mark in zip(messages, marks, strict=True)]
    rest, ids = _render(rows, tokenizer), []
    for mark, text in marks.items():
        before, found, rest = rest.partition(mark)
        if not found:
            raise BadInput("a message spells a special token, and the chat template changes messages; reword it.")
        ids += _plain_ids(before, tokenizer)
        ids += list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    return [*ids, *_plain_ids(rest, tokenizer)]
