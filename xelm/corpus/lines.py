"""Lines of .txt, .jsonl and .jsonl.gz files, read strictly: a bad one is named by file and number."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.errors import BadInput

SPLITS = {"train": "train", "valid": "valid", "validation": "valid", "dev": "valid", "test": "test"}


@dataclass(frozen=True)
class Row:
    """One document."""

    text: str
    split: str | None = None
    """`train`, `valid` or `test` (or an alias), where the data says so."""
    id: Any = None


def read_lines(file: Path, text_field: str = "text", skipped: list[str] | None = None) -> Iterator[Row]:
    """The documents of a file, one a line; blank lines are passed over.

    Args:
        file: .txt (a document a line), .jsonl or .jsonl.gz (an object a line).
        text_field: The key of the text.
        skipped: Where given, bad lines are described here and skipped.

    Raises:
        BadInput: For a file that is missing, empty or not gzip, and for a bad line if `skipped` is None.
    """
    parse = _parse_text if file.suffix == ".txt" else _parse_json
    documents = 0
    for number, raw in _raw_lines(file):
        if not raw.strip():
            continue
        try:
            row = parse(raw, text_field)
        except ValueError as error:
            refuse(f"{file}, line {number}: {error}", skipped)
            continue
        if row.text.strip():
            documents += 1
            yield row
    refuse_empty(str(file), documents)


def refuse(problem: str, skipped: list[str] | None) -> None:
    """Stop at a bad line or row, or add it to `skipped` where that list is given.

    Raises:
        BadInput: If it is not given.
    """
    if skipped is None:
        raise BadInput(f'{problem}. Mend the line, or set data.on_bad_line = "skip".')
    skipped.append(problem)


def refuse_empty(where: str, num_documents: int) -> None:
    """Stop where a file or dataset turned out to hold no document.

    Raises:
        BadInput: If there is none.
    """
    if not num_documents:
        raise BadInput(f"{where}: no text in it. Add text, or remove the file to leave this language out.")


def row_of(value: Any, text_field: str) -> Row:
    """The document of a JSON object or of a dataset's row.

    Raises:
        ValueError: If it has no text or an unknown split; the message says what there is.
    """
    if not isinstance(value, dict) or not isinstance(value.get(text_field), str):
        found = ", ".join(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"no text in the field '{text_field}' (found: {found})")
    text, split = value[text_field], value.get("split")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("the text holds half of a surrogate pair, which is no character")
    if split is not None and (not isinstance(split, str) or split not in SPLITS):
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    return Row(text, split, value.get("id"))


def _raw_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as handle:
            yield from enumerate(handle, 1)
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(f"{file}: not a whole gzip file ({error}). Copy it again.") from None


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8").rstrip("\r\n").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8 (byte {raw[error.start]:#04x} at column {error.start + 1})") from None


def _parse_text(raw: bytes, _text_field: str) -> Row:
    return Row(_decode(raw))


def _parse_json(raw: bytes, text_field: str) -> Row:
    try:
        value = json.loads(_decode(raw))
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise ValueError("not valid JSON (nested too deeply)") from None
    return row_of(value, text_field)
