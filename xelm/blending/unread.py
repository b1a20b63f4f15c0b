"""Rows of a vocabulary that stand for pieces an expert never read.

Training still moves them: every step pushes the scores of all pieces that do not come next down, and these rows learn
nothing but that. On other languages' text they cost far more than all else an expert forgets, and its own languages
hardly miss them, so they may be the base's again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput, arg
from clustering.files import read_json, write_json
from xelm.blending.moved import Rows
from xelm.corpus.kept_text import kept_text
from xelm.models.rows import num_rows_of
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE

FILE = "unread_rows.json"
"""Beside an expert's weights: its rows that are the base's and what it has read since, as [first, last] pairs."""


def find_unread(experts: ExpertSet, name: str) -> Rows:
    """The pieces of the base's vocabulary that do not occur in the training text of an expert's languages.

    Raises:
        BadInput: If that text is not at hand: a run keeps it, tokenised, in `cache/`, which copies may leave out.
    """
    stores = {code: kept_text(experts, code, name) for code in _languages_read(experts, name)}
    missing = [code for code, store in stores.items() if not store]
    if missing:
        raise BadInput(
            f"{experts.path}: the tokenised text of {', '.join(missing)} is not in its cache/, so that nobody can tell "
            f"which pieces {name} never read. Blend where the run was trained, or with {arg('unread', False)}."
        )
    read = (store.pieces() for store in stores.values() if store)
    return Rows(frozenset(range(num_rows_of(experts.folder(BASE)))).difference(*read))


def write_rows(folder: Path, rows: Rows) -> None:
    """Note an expert's rows that are the base's."""
    since = {code: _pairs(read) for code, read in rows.read_since.items()}
    write_json(folder / FILE, {"unread": _pairs(rows.unread), "read_since": since})


def read_rows(folder: Path) -> Rows:
    """What `write_rows` wrote; none if it wrote nothing.

    Raises:
        BadInput: If the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return Rows()
    table = read_json(file)
    since = table.get("read_since") if isinstance(table, dict) else None
    if not isinstance(since, dict):
        raise BadInput(f"{file}: damaged: it has no table of rows.")
    return Rows(_ids(table.get("unread"), file), {code: _ids(pairs, file) for code, pairs in since.items()})


def _pairs(rows: Iterable[int]) -> list[list[int]]:
    ids = np.array(sorted(rows), dtype=np.int64)
    spans = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1) if len(ids) else []
    return [[int(span[0]), int(span[-1])] for span in spans]


def _ids(pairs: Any, file: Path) -> frozenset[int]:
    found = set[int]()
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)
        if not whole or not 0 <= pair[0] <= pair[1] < 2**24:
            raise BadInput(f"{file}: damaged: {str(pair)[:80]} is no pair of a first and a last row.")
        found.update(range(pair[0], pair[1] + 1))
    return frozenset(found)


def _languages_read(experts: ExpertSet, name: str) -> list[str]:
    """An expert's languages, and those that were replayed in its training."""
    begun = [line for line in experts.manifest.ledger if line.expert == name and line.kind == "new"]
    if Recipe.from_dict(experts.manifest.recipe).expert.replay or any(line.replay for line in begun):
        return sorted(experts.manifest.data)
    return list(experts.plan.clusters[name])
