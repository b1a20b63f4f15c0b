"""Wide tables of transfer results: targets down, sources along, a score in each cell."""

from __future__ import annotations

from collections.abc import Sequence

from clustering.errors import BadInput
from clustering.languages.codes import to_code

Rows = list[list[str]]


def long_form(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], Rows] | None:
    """A wide table as one row for each pair, with headings target, source, score; None if the table is not wide.

    A table is wide if all its headings but the first name languages, at least two of them, that are not words of a
    long table besides (`las` and `map` are both).
    """
    if len(header) < 3 or {"source", "target", "score"} & {name.lower() for name in header[1:]}:
        return None
    if not all(_is_language(name) for name in header[1:]):
        return None
    pairs = [[row[0], source, cell] for row in rows for source, cell in zip(header[1:], row[1:], strict=True)]
    return ["target", "source", "score"], pairs


def _is_language(name: str) -> bool:
    try:
        to_code(name)
    except BadInput:
        return False
    return True
