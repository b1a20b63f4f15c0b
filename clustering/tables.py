"""Rows of small tables of text, separated by commas, tabs or semicolons."""

from __future__ import annotations

import csv
from pathlib import Path

from clustering.errors import BadInput


def rows_of(text: str) -> list[list[str]]:
    """The rows that hold anything, heading and all, parted by what stands most often in the first line."""
    delimiter = max(",\t;", key=text.split("\n", 1)[0].count)
    return [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(cell.strip() for cell in row)]


def read_rows(file: Path) -> list[list[str]]:
    """The rows of a file.

    Raises:
        BadInput: If it is missing or no UTF-8.
    """
    try:
        return rows_of(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file.") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise BadInput(f"{file}: not a table of text: {error}.") from None
