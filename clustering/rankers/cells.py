"""The cells of a user's table of transfer results: rows, numbers, languages; what is missing or no number is told."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import UnknownLanguageError, to_code
from clustering.tables import rows_of

log = logging.getLogger(__name__)
_MISSING = frozenset({"", "-", "--", "–", "?", "na", "n/a", "nan", "none", "null"})


def read_rows(file: Path) -> tuple[list[str], list[list[str]]]:
    """The heading and the rows of a file.

    Raises:
        BadInput: If there is none, it is no UTF-8, or a row has more or fewer cells than the heading.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file.") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: not valid UTF-8 at byte {error.start}.") from None
    rows = rows_of(text)
    if len(rows) < 2:
        raise BadInput(f"{file}: no rows. A header with target, source, score and a line per pair is needed.")
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise BadInput(f"{file}, row {number}: {len(row)} cells where the header has {len(header)}.")
    return header, rows[1:]


def with_all_three(file: Path, rows: list[list[str]], positions: Sequence[int]) -> list[list[str]]:
    """Rows that have a target, a source and a score; the others are counted."""
    whole = [row for row in rows if not any(is_missing(row[position]) for position in positions)]
    if not whole:
        raise BadInput(f"{file}: no row has a target, a source and a score.")
    if len(whole) < len(rows):
        log.warning("%s: %d rows without a score, a target or a source are left out", file, len(rows) - len(whole))
    return whole


def is_missing(cell: str) -> bool:
    """Whether a cell is empty or says that its value is not known."""
    return cell.strip().lower() in _MISSING


def score_numbers(file: Path, header: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> np.ndarray:
    """The scores.

    Raises:
        BadInput: If one is no finite number.
    """
    position = header.index(name)
    values = np.empty(len(rows))
    for number, row in enumerate(rows):
        try:
            values[number] = float(row[position])
        except ValueError:
            values[number] = np.nan
        if not np.isfinite(values[number]):
            raise BadInput(f"{file}, row {number + 2}: the score {row[position]!r} ({name}) is no number.")
    return values


def numbers_or_none(rows: Sequence[Sequence[str]], position: int) -> np.ndarray | None:
    """A column of numbers, NaN where one is missing; None if it is none."""
    try:
        return np.array([np.nan if is_missing(row[position]) else float(row[position]) for row in rows])
    except ValueError:
        return None


def language_codes(file: Path, rows: Sequence[Sequence[str]], position: int) -> tuple[str, ...]:
    """The languages of a column.

    Raises:
        BadInput: If one is unknown; the message names the row.
    """
    codes = []
    for number, row in enumerate(rows, start=2):
        try:
            codes.append(to_code(row[position]))
        except UnknownLanguageError as error:
            raise BadInput(f"{file}, row {number}: {error}") from None
    return tuple(codes)
