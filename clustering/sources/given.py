"""Overlaps, sizes and type-token ratios as the user's numbers, for text that is counted elsewhere or not to be had."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from clustering.errors import BadInput, refuse_text
from clustering.languages.codes import match, name_of, same_language_key, to_point
from clustering.rankers.headings import signal_in_heading
from clustering.sources.signals import SIGNALS
from clustering.tables import read_rows

Given = Mapping[str, Mapping[str, float] | float]
"""Signal -> language -> number; of the target's own (`target_size`, `target_ttr`) the number alone."""
_OF_TARGET = {"source_size": "target_size", "source_ttr": "target_ttr"}
_SHARES = {
    "model_distance",
    "word_overlap",
    "subword_overlap",
    "latin_overlap",
    "shared_script",
    "source_ttr",
    "target_ttr",
}


def names_given(also: Collection[str] = ()) -> list[str]:
    """Signals that may be given: those that come from text, and columns that a ranker learned from."""
    return [*(name for name, signal in SIGNALS.items() if signal.needs_text), *also]


def read_signals(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a table with a language in each row and a signal in each further column.

    Headings may be those of xelm or of LangRank (`word_overlap`, `Overlap word-level`, `size`, `TTR`); a row of the
    target gives its own size and TTR. Empty cells and `nan` are unknown.

    Raises:
        BadInput: If the file is missing, a language is unknown or there twice, or a cell is no number.
    """
    file = Path(path)
    rows = read_rows(file)
    if len(rows) < 2 or len(rows[0]) < 2:
        raise BadInput(f"{file}: a heading, and rows of a language and its numbers are needed.")
    names = [signal_in_heading(heading) for heading in rows[0][1:]]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"{file}: several columns mean {', '.join(sorted(doubled))}. Keep one of them.")
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise BadInput(f"{file}, row {number}: {len(row)} cells where the heading has {len(rows[0])}.")
        point = to_point(row[0])
        if any(point in column for column in found.values()):
            raise BadInput(f"{file}, row {number}: {row[0]} is there twice.")
        for name, cell in zip(names, row[1:], strict=True):
            found[name][point] = _number(file, number, cell)
    return found


def given_signals(
    target: str, candidates: Sequence[str], given: Given, also: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The numbers as raw signals of the candidates, with those that follow from them.

    Args:
        target: A point.
        candidates: C points.
        given: See `Given`. Sizes and TTR of the target may stand among those of the sources.
        also: Columns that a ranker learned from.

    Returns:
        Signal -> shape (C,), NaN where not given; `size_ratio` and `ttr_distance` too if they follow.

    Raises:
        BadInput: If a signal is unknown, a language is unknown, or a number cannot be one of its signal.
    """
    raw: dict[str, np.ndarray] = {}
    for name, values in given.items():
        if name not in names_given(also):
            raise BadInput(f"signals: {name!r} cannot be given as numbers. Choose of {', '.join(names_given(also))}.")
        refuse_text(name, values)
        if not isinstance(values, Mapping):
            raw[name] = np.full(len(candidates), _checked(name, "", values))
            continue
        numbers = {language: _checked(name, language, value) for language, value in values.items()}
        found = [match(code, numbers) for code in candidates]
        raw[name] = np.array([np.nan if language is None else numbers[language] for language in found])
        of_target, own = _OF_TARGET.get(name), match(target, numbers)
        if of_target is not None and own is not None:
            raw.setdefault(of_target, np.full(len(candidates), numbers[own]))
    if "size_ratio" not in raw and {"source_size", "target_size"} <= raw.keys():
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = raw["source_size"] / raw["target_size"]
        raw["size_ratio"] = np.where(np.isfinite(ratio), ratio, np.nan)
    if "ttr_distance" not in raw and {"source_ttr", "target_ttr"} <= raw.keys():
        with np.errstate(divide="ignore", invalid="ignore"):
            raw["ttr_distance"] = (1 - raw["source_ttr"] / raw["target_ttr"]) ** 2
    return raw


def unused(target: str, candidates: Sequence[str], given: Given) -> list[str]:
    """Languages with numbers that are neither target nor candidate."""
    points = [target, *candidates]
    named = {language for values in given.values() if isinstance(values, Mapping) for language in values}
    keys = {same_language_key(point) for point in points}
    return sorted(name for name in named if same_language_key(to_point(name)) not in keys and not match(name, points))


def _checked(name: str, language: str, value: float) -> float:
    where = f"signals: {name}" + (f" of {name_of(to_point(language))}" if language else "")
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise BadInput(f"{where} is {value!r}: a number is needed.")
    if np.isnan(value):
        return float("nan")
    if (value < 0 and name in SIGNALS) or np.isinf(value):
        raise BadInput(f"{where} is {value}: a finite number of at least 0 is needed.")
    if name in _SHARES and value > 1:
        raise BadInput(f"{where} is {value}: it is a share, from 0 to 1.")
    return float(value)


def _number(file: Path, row: int, cell: str) -> float:
    text = cell.strip().replace("_", "")
    if text.lower() in ("", "-", "--", "–", "?", "na", "n/a", "none", "null"):
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"{file}, row {row}: {cell!r} is no number.") from None
