"""Texts as callers give them: any iterable of strings, read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from clustering.errors import BadInput


def as_texts(texts: Iterable[str], what: str = "text") -> list[str]:
    """The strings of a list, a generator, an open file (its lines), …, in order.

    Args:
        texts: Any iterable; it is read once, to its end.
        what: The word for one text in messages.

    Raises:
        BadInput: If it is one string, has no order, or holds anything but strings.
    """
    if isinstance(texts, str):
        raise BadInput(f"one {what} was given where a list of {what}s is expected: write [{what}].")
    if isinstance(texts, bytes | Mapping | Set) or not isinstance(texts, Iterable):
        raise BadInput(f"{what}s={_shown(texts)}: a list of strings is expected, not a {type(texts).__name__}.")
    given = list(texts)
    for index, text in enumerate(given):
        if not isinstance(text, str):
            raise BadInput(f"{what} {index} is a {type(text).__name__}, a string is expected.")
    # A numpy string is a str, but prints and compares in its own way.
    return [str(text) for text in given]


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
