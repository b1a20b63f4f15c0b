"""Documents of tables: .csv, .tsv and .parquet, a document a row, the text in a named column."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clustering.corpora.formats import COMPRESSIONS, decoded, opened, raw_lines
from clustering.corpora.rows import Reading, Row, refuse, row_of
from clustering.errors import BadInput

_SEPARATORS = (",", ";", "\t")
"""Separators of a .csv file; Excel writes semicolons in countries that use a comma in numbers."""
_LONGEST_FIELD = 2**31 - 1


def csv_rows(file: Path, reading: Reading, skipped: list[str] | None) -> Iterator[Row]:
    """Rows of comma-separated values (RFC 4180): quoted fields may hold separators and line ends.

    The separator is the one of `,`, `;` and tab by which the first line has a column of the text.
    """
    lines = _Lines(file)
    try:
        head = next(lines)
    except StopIteration:
        return
    except ValueError as error:
        raise BadInput(f"{file}, line 1: {error}.") from None
    separator = next((s for s in _SEPARATORS if reading.text_field in _fields(head, s)), ",")
    header = _header(file, _fields(head, separator), reading)
    # The module's limit is one for the whole program; 128 kB would refuse long documents.
    csv.field_size_limit(max(_LONGEST_FIELD, csv.field_size_limit()))
    table = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        begin = lines.number + 1
        try:
            fields = next(table)
        except StopIteration:
            return
        except (csv.Error, ValueError) as error:
            refuse(f"{file}, line {begin}: {error}", skipped, reading.way_out)
            continue
        yield from _table_row(f"{file}, line {begin}", header, fields, reading, skipped)


def tsv_rows(file: Path, reading: Reading, skipped: list[str] | None) -> Iterator[Row]:
    """Rows of tab-separated values: a line a row, quotes are text unless they enclose a whole field."""
    header: list[str] | None = None
    for number, raw in raw_lines(file):
        try:
            fields = [_unquoted(field) for field in decoded(raw).rstrip("\r\n").split("\t")]
        except ValueError as error:
            refuse(f"{file}, line {number}: {error}", skipped, reading.way_out)
            continue
        if header is None:
            header = _header(file, fields, reading)
        elif any(fields):
            yield from _table_row(f"{file}, line {number}", header, fields, reading, skipped)


def parquet_rows(file: Path, reading: Reading, skipped: list[str] | None) -> Iterator[Row]:
    """Rows of a parquet file; only the columns that are needed are read, a batch at a time."""
    import pyarrow
    from pyarrow import parquet

    try:
        with tempfile.TemporaryFile() as unpacked:
            table = parquet.ParquetFile(_seekable(file, unpacked))
            names = table.schema_arrow.names
            if not {reading.text_field, reading.tokens_field} & set(names) and table.metadata.num_rows:
                found = ", ".join(names)
                raise BadInput(f"{file}, row 1: no text in the field '{reading.text_field}' (found: {found}).")
            needed = names if reading.whole else (reading.text_field, reading.id_field, "split")
            wanted = [name for name in needed if name in names]
            number = 0
            for batch in table.iter_batches(columns=list(dict.fromkeys(wanted))):
                for value in batch.to_pylist():
                    number += 1
                    try:
                        row = row_of(value, reading)
                    except ValueError as error:
                        refuse(f"{file}, row {number}: {error}", skipped, reading.way_out)
                        continue
                    yield row
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file.") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise BadInput(
            f"{file}: cannot be read ({error}). It is empty or damaged: get it again, "
            "or remove it to leave this language out."
        ) from None


def _seekable(file: Path, unpacked: Any) -> Any:
    if file.suffix.lower() not in COMPRESSIONS:
        return file
    with opened(file) as handle:
        shutil.copyfileobj(handle, unpacked)
    return unpacked


class _Lines:
    """Decoded lines for the csv module, which counts them; a lone `\\r` also ends a line, as in old tables."""

    def __init__(self, file: Path) -> None:
        self.number = 0
        self._raw = raw_lines(file)
        self._pieces: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if not self._pieces:
            self.number, raw = next(self._raw)
            self._pieces = _line_ends_kept(decoded(raw))
        return self._pieces.pop(0)


def _line_ends_kept(text: str) -> list[str]:
    body = text.removesuffix("\n").removesuffix("\r")
    pieces = [f"{piece}\r" for piece in body.split("\r")]
    pieces[-1] = pieces[-1][:-1] + text[len(body) :]
    return pieces


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _unquoted(field: str) -> str:
    if len(field) >= 2 and field[0] == field[-1] == '"' and '"' not in field[1:-1].replace('""', ""):
        return field[1:-1].replace('""', '"')
    return field


def _header(file: Path, names: list[str], reading: Reading) -> list[str]:
    if reading.text_field not in names:
        found = ", ".join(name if len(name) <= 40 else f"{name[:40]}…" for name in names)
        raise BadInput(
            f"{file}: no column '{reading.text_field}' in the first line (found: {found}). The first line names the "
            "columns; name the column of the text as text_field."
        )
    if len(set(names)) < len(names):
        raise BadInput(f"{file}: two columns of one name in the first line ({', '.join(names)}). Name each once.")
    return names


def _table_row(
    where: str, header: list[str], fields: list[str], reading: Reading, skipped: list[str] | None
) -> Iterator[Row]:
    if not fields:  # a blank line
        return
    try:
        if len(fields) != len(header):
            raise ValueError(f"{len(fields)} column(s) where the first line has {len(header)}")
        value = dict(zip(header, fields, strict=True))
        row = row_of({**value, "split": value.get("split") or None}, reading)
    except ValueError as error:
        refuse(f"{where}: {error}", skipped, reading.way_out)
        return
    yield row
