"""The user's own figures of how good each source is by itself: results on other targets, sizes of data, speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import same_language_key, to_code, to_point
from clustering.languages.points import code_of
from clustering.tables import read_rows


def read_quality(path: str | Path) -> dict[str, float]:
    """Read a CSV or TSV of two columns, language and a number (more is better), with or without a heading.

    Raises:
        BadInput: If the file is missing, a language is unknown or there twice, or a value is no finite number.
    """
    file = Path(path)
    found: dict[str, float] = {}
    for number, row in enumerate(read_rows(file), start=1):
        if len(row) != 2:
            raise BadInput(f"{file}, row {number}: {len(row)} cells; a language and a number are needed.")
        value = _number(row[1])
        if value is None and number == 1:
            continue  # the heading
        if value is None:
            raise BadInput(f"{file}, row {number}: {row[1]!r} is no finite number.")
        code = to_point(row[0])
        if code in found:
            raise BadInput(f"{file}, row {number}: {row[0]} is there twice.")
        found[code] = value
    if not found:
        raise BadInput(f"{file}: no rows. A language and a number in each are needed.")
    return found


def quality_of(candidates: Sequence[str], quality: Mapping[str, float]) -> np.ndarray:
    """The value of each candidate, under any of its codes; shape (C,), NaN where there is none."""
    in_any_script = {same_language_key(to_code(name)): float(value) for name, value in quality.items()}
    by_point = {same_language_key(to_point(name)): float(value) for name, value in quality.items()}
    found = []
    for point in candidates:
        code = code_of(point)
        key = same_language_key(code)
        value = by_point.get(same_language_key(point), by_point.get(key))
        found.append(in_any_script.get(key) if value is None and code == point else value)
    return np.array([np.nan if value is None else value for value in found])


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().replace("_", ""))
    except ValueError:
        return None
    return value if np.isfinite(value) else None
