"""Held-out documents, with one JSON object a line, and the only reader of such a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import parse_json, read_bytes

SPLITS = ("valid", "test")
"""For decisions, and for results."""
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class HeldoutRow:
    """One line of such a file."""

    text: str
    split: str
    id: Any = None
    answer_at: int | None = None
    """Of a prompt with its answer: where the answer begins in the text."""


def read_heldout(file: Path, split: str | None = None) -> list[HeldoutRow]:
    """Read a file of held-out documents.

    Args:
        file: Lines with `text`, `split` and `id`.
        split: `valid` or `test`; None: both.

    Raises:
        BadInput: If the file is missing, or a line is no such object; the message names the line.
    """
    lines = read_bytes(file, most_bytes=_MOST_BYTES).split(b"\n")  # str.splitlines would cut at U+2028 inside a text
    rows = [_row(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line]
    return [row for row in rows if split in (None, row.split)]


def texts_of(rows: Iterable[HeldoutRow]) -> list[str]:
    """The texts of rows."""
    return [row.text for row in rows]


def _row(line: bytes, where: str) -> HeldoutRow:
    value = parse_json(line, where, finite=False)  # an id may be anything
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or value.get("split") not in SPLITS:
        raise BadInput(f"{where}: no held-out document (text, and split: valid or test).")
    answer_at = value.get("answer_at")
    if answer_at is not None and not (type(answer_at) is int and 0 < answer_at <= len(value["text"])):
        raise BadInput(f"{where}: answer_at = {answer_at!r} is no place in the text.")
    return HeldoutRow(value["text"], value["split"], value.get("id"), answer_at)
