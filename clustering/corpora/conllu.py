"""Sentences of .conllu files (Universal Dependencies): words with their columns, the text from `# text`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clustering.corpora.formats import decoded, raw_lines
from clustering.corpora.rows import Reading, Row, refuse, row_of

_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def conllu_rows(file: Path, reading: Reading, skipped: list[str] | None) -> Iterator[Row]:
    """Read one row from each sentence: its text, `sent_id`, and as lists `tokens` and every column but the first.

    Multi-word tokens (`1-2`) are left as their words, empty nodes (`1.1`) are left out. A sentence without `# text`
    is its words joined by spaces.
    """
    block: list[bytes] = []
    for number, raw in _lines(file):
        if raw.strip():
            block.append(raw)
            continue
        try:
            value = _sentence([decoded(line).rstrip("\r\n") for line in block], reading)
            row = row_of(value, reading) if value else None
        except ValueError as error:
            refuse(f"{file}, sentence before line {number}: {error}", skipped, reading.way_out)
            row = None
        block = []
        if row:
            yield row


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file and a blank one after them, which ends the last sentence."""
    number = 0
    for number, raw in raw_lines(file):
        yield number, raw
    yield number + 1, b"\n"


def _word(line: str) -> list[list[str]]:
    columns = line.split("\t")
    if len(columns) != len(_COLUMNS):
        raise ValueError(f"{len(columns)} column(s) with tabs between them where CoNLL-U has {len(_COLUMNS)}")
    return [] if "-" in columns[0] or "." in columns[0] else [columns]


def _sentence(lines: list[str], reading: Reading) -> dict[str, Any]:
    """The fields of a sentence; empty for comments alone."""
    pairs = (line[1:].partition("=") for line in lines if line.startswith("#"))
    comments = {key.strip(): value.strip() for key, _, value in pairs}
    words = [word for line in lines if not line.startswith("#") for word in _word(line)]
    if not words:
        return {}
    columns = {name: [word[place] for word in words] for place, name in enumerate(_COLUMNS) if place}
    text = comments.get("text") or " ".join(columns["form"])
    return {**columns, reading.text_field: text, reading.id_field: comments.get("sent_id"), "tokens": columns["form"]}
