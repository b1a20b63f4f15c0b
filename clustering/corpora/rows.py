"""One document of a corpus, how documents are read, and which documents are bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clustering.errors import BadInput

SPLITS = {"train": "train", "valid": "valid", "validation": "valid", "dev": "valid", "test": "test"}
_MANY_NULS = 0.25
"""Share of NUL characters from which on a text counts as UTF-16 or binary data and not as UTF-8."""


@dataclass(frozen=True)
class Row:
    """One document."""

    text: str
    split: str | None = None
    """`train`, `valid` or `test` (or an alias), if the data names it."""
    id: Any = None
    values: Mapping[str, Any] | None = None
    """All fields of the row, if the reading asks for them."""
    answer_at: int | None = None
    """Of a prompt with its answer: where the answer begins in the text."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The fields of a row that hold a document's parts, and the advice for a bad row."""

    text_field: str = "text"
    """Key or column of the text."""
    id_field: str = "id"
    """Key or column of the name of a document; rows need not have it."""
    tokens_field: str | None = None
    """Key of a list of words, which are the text of rows that have no text of their own."""
    whole: bool = False
    """Whether rows keep all their fields (`Row.values`)."""
    prompt_field: str | None = None
    """Key of a prompt, to which the text is the answer; the text of a row is then prompt, line break and answer."""
    way_out: str = "Correct the line."
    """A sentence on what a user can do about a bad line."""


def refuse(problem: str, skipped: list[str] | None, way_out: str) -> None:
    """Refuse a bad line or row, or add it to `skipped` if that list is given.

    Raises:
        BadInput: If the list is not given.
    """
    if skipped is None:
        raise BadInput(f"{problem}. {way_out}")
    skipped.append(problem)


def refuse_empty(where: str, num_documents: int) -> None:
    """Refuse a file or dataset that holds no document.

    Raises:
        BadInput: If there is none.
    """
    if not num_documents:
        raise BadInput(f"{where}: no text in it. Add text, or remove the file to leave this language out.")


def row_of(value: Any, reading: Reading) -> Row:
    """The document of a JSON object, of a line of a table or of a dataset's row.

    Raises:
        ValueError: If it has no text or an unknown split; the message says what was found.
    """
    text = _text_of(value, reading) if isinstance(value, dict) else None
    if text is None:
        raise ValueError(f"no text in the field '{reading.text_field}' (found: {_found(value)})")
    prompt = value.get(reading.prompt_field) if reading.prompt_field else None
    if reading.prompt_field and not isinstance(prompt, str):
        raise ValueError(f"no prompt in the field '{reading.prompt_field}' (found: {_found(value)})")
    if prompt is not None and not text.strip():
        raise ValueError(f"the answer in the field '{reading.text_field}' is empty")
    split = value.get("split")
    if split is not None and (not isinstance(split, str) or split not in SPLITS):
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    whole = value if reading.whole else None
    if prompt is None:
        return Row(checked(text), split, value.get(reading.id_field), whole)
    return Row(checked(f"{prompt}\n{text}"), split, value.get(reading.id_field), whole, len(prompt) + 1)


def _text_of(value: Mapping[str, Any], reading: Reading) -> str | None:
    text = value.get(reading.text_field)
    words = value.get(reading.tokens_field) if reading.tokens_field and text is None else None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return " ".join(words)
    return text if isinstance(text, str) else None


def checked(text: str) -> str:
    """Check a text and return it unchanged.

    Raises:
        ValueError: If it cannot be text: half a surrogate pair, or mostly NUL characters.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("the text holds half of a surrogate pair, which is no character") from None
    if "\0" in text and text.count("\0") >= _MANY_NULS * len(text):
        raise ValueError("the text is full of NUL characters: UTF-16 or binary data. Convert it to UTF-8")
    return text


def _found(value: Any) -> str:
    if not isinstance(value, dict):
        return type(value).__name__
    names = ", ".join(str(name) for name in value)
    return names if len(names) <= 200 else f"{names[:200]}…"
