"""Read the rows of a task: files by language, as a corpus, with labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.corpora.find import Source, find_sources
from clustering.corpora.rows import SPLITS, Reading, Row
from clustering.errors import BadInput
from xelm.transferring.data.examples import Example

if TYPE_CHECKING:
    from xelm.transferring.recipe import TaskData
    from xelm.transferring.tasks.task import Task

_SPLIT_IN_NAME = re.compile(r"(?:^|[-_.])(train|valid|validation|dev|test)(?=[-_.]|$)")
Rows = dict[str, dict[str, list[Example]]]
"""Language -> split -> rows."""


def read_rows(settings: TaskData, task: Task) -> Rows:
    """All rows of a task by language and split, in the order of the files.

    Args:
        settings: The section `[task]` of a recipe.
        task: What a row must hold.

    Raises:
        BadInput: If there is no text, a row has no label, or nothing says which rows are for training and which for
            tests.
    """
    rows: Rows = {}
    for source in find_sources(settings.path, settings.languages):
        rows[source.code] = {"train": [], "valid": [], "test": []}
        for row, split, where in _rows(source, settings, task):
            assert row.values is not None
            example = task.example(row, source.code, _label(row.values, settings, task, where), where)
            rows[source.code][split].append(example)
    return rows


def _rows(source: Source, settings: TaskData, task: Task) -> Iterator[tuple[Row, str, str]]:
    reading = Reading(text_field=settings.text, tokens_field=settings.tokens, id_field=settings.id, whole=True)
    pieces: list[tuple[Source, Path | None]] = [(Source(source.code, (file,)), file) for file in source.files]
    for piece, file in pieces or [(source, None)]:
        named = _split_of_name(file)
        for number, row in enumerate(piece.rows(reading), 1):
            where = f"{file or source}, row {number}"
            split = SPLITS[row.split] if row.split else named or (None if task.trains else "test")
            if split is None:
                raise BadInput(
                    f"{where}: nothing says whether it is for training or a test. Give each row a `split` (train, "
                    f"valid or test), or name files so ({source.code}/train.jsonl, {source.code}/test.jsonl)."
                )
            yield row, split, where


def _split_of_name(file: Path | None) -> str | None:
    found = _SPLIT_IN_NAME.findall(file.name.lower()) if file else []
    return SPLITS[found[-1]] if found else None


def _label(values: Mapping[str, Any], settings: TaskData, task: Task, where: str) -> Any:
    """What the row has under the label's key; None if the row has none."""
    names = (settings.label,) if settings.label else task.label_fields
    name = next((name for name in names if values.get(name) is not None), None)
    if name is None and settings.label and settings.label not in values:
        found = ", ".join(str(key) for key in values)
        raise BadInput(f"{where}: no label in the field '{settings.label}' (found: {found}). See `[task] label`.")
    return values[name] if name else None
