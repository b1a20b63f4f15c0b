"""The documents of one corpus file, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from clustering.corpora.conllu import conllu_rows
from clustering.corpora.formats import kind_of
from clustering.corpora.lines import json_line_rows, json_rows, text_rows
from clustering.corpora.rows import Reading, Row, refuse_empty
from clustering.corpora.tables import csv_rows, parquet_rows, tsv_rows

_READERS: dict[str, Callable[[Path, Reading, list[str] | None], Iterator[Row]]] = {
    ".txt": text_rows,
    ".jsonl": json_line_rows,
    ".ndjson": json_line_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
    ".conllu": conllu_rows,
}


def read_file(file: Path, reading: Reading | None = None, skipped: list[str] | None = None) -> Iterator[Row]:
    """The documents of a file in order, as a stream: memory does not grow with the file. Blank ones are ignored.

    Args:
        file: `.txt` (a document a line), `.jsonl` or `.ndjson` (an object a line), `.json` (an array of objects, or
            objects one after another), `.csv`, `.tsv` or `.parquet` (a document a row), `.conllu` (a sentence a
            document), plain or as `.gz` or `.zst`.
        reading: The fields of text and id; None: `text` and `id`.
        skipped: If given, bad rows are skipped and described in this list.

    Raises:
        BadInput: For a file that is missing, empty, damaged or of another kind, and for a bad row if `skipped` is
            None; the message names file and line.
    """
    documents = 0
    for row in _READERS[kind_of(file)](file, reading or Reading(), skipped):
        if row.text.strip():
            documents += 1
            yield row
    refuse_empty(str(file), documents)
