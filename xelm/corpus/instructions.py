"""Prompts with their answers as tokens: in the chat template of the base, or a line each where it has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clustering.corpora.rows import Row
from clustering.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Characters of Unicode's private use area, which no template and no text of a language contains.
_ASKED, _ANSWERED = "\ue000asked\ue001", "\ue000answered\ue001"


def instruction_ids(
    row: Row, tokenizer: PreTrainedTokenizerBase, before: list[int], after: list[int]
) -> tuple[list[int], int]:
    """Token ids of a prompt with its answer, and how many of them stand before the answer.

    If prompt or answer spell a special token, it stays text; only the template's own special tokens are special.

    Args:
        row: A row with `answer_at`.
        tokenizer: The base's tokenizer.
        before: The tokens that begin a document.
        after: The tokens that close one.

    Raises:
        BadInput: If the chat template does not show prompt and answer as they are.
    """
    assert row.answer_at is not None
    prompt, answer = row.text[: row.answer_at - 1], row.text[row.answer_at :]
    if not getattr(tokenizer, "chat_template", None):
        head = [*before, *_plain(f"{prompt}\n", tokenizer)]
        return [*head, *_plain(answer, tokenizer), *after], len(head)
    first, between, last = _template_parts(tokenizer)
    head = [*_special(first, tokenizer), *_plain(prompt, tokenizer), *_special(between, tokenizer)]
    ids = [*head, *_plain(answer, tokenizer), *_special(last, tokenizer)]
    lead = [] if ids[: len(before)] == before else before
    tail = [] if not after or after[0] in ids[len(head) :] else after
    return [*lead, *ids, *tail], len(lead) + len(head)


def _template_parts(tokenizer: Any) -> tuple[str, str, str]:
    """What a chat template puts before a prompt, between it and the answer, and after the answer."""
    from jinja2 import TemplateError

    rows = [{"role": "user", "content": _ASKED}, {"role": "assistant", "content": _ANSWERED}]
    try:
        whole = str(tokenizer.apply_chat_template(rows, tokenize=False))
    except TemplateError as error:
        raise BadInput(f"the base's chat template does not take a prompt and its answer: {error}") from None
    first, asked, rest = whole.partition(_ASKED)
    between, answered, last = rest.partition(_ANSWERED)
    if not (asked and answered):
        raise BadInput("the base's chat template does not show a prompt and its answer as they are.")
    return first, between, last


def _plain(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])


def _special(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else []
