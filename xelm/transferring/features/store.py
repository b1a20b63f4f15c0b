"""Vectors of the rows of an experiment, each group of rows encoded once and kept in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write, read_arrays
from xelm.transferring.data.examples import Example
from xelm.transferring.data.taskdata import Rowset
from xelm.transferring.features.encoder import Encoder, Matrix

_SPLITS = ("train", "test")


class FeatureStore:
    """Vectors by rows.

    Texts of the data are encoded with all of their language and split; texts that techniques made, with all that are
    asked for together. So a vector never depends on what was encoded before, and an interrupted experiment goes
    on with the same bits.
    """

    def __init__(self, encoder: Encoder, rowset: Rowset, folder: Path) -> None:
        self.encoder, self._rowset, self._folder = encoder, rowset, folder / encoder.key
        self._groups: dict[str, Matrix] = {}
        self._places: dict[tuple[str, str], dict[str, slice]] = {}

    def take(self, rows: Sequence[Example]) -> Matrix:
        """Vectors of all things that rows label, in order, shape (things, dimensions)."""
        plain = [self._place(row) for row in rows]
        new = [row for row, place in zip(rows, plain, strict=True) if place is None]
        made = self._group("made", new) if new else None
        parts, used = [], 0
        for row, place in zip(rows, plain, strict=True):
            if place is None:
                parts.append((made, slice(used, used + row.num_units)))
                used += row.num_units
            else:
                parts.append((self._language(row.language, place[0]), place[1]))
        return _joined(parts)

    def language(self, code: str) -> Matrix:
        """Vectors of the training rows of a language, labelled or not."""
        if not self._rowset.rows.get(code, {}).get("train"):
            return np.empty((0, 0), dtype=np.float32)
        return self._language(code, "train")

    def _place(self, row: Example) -> tuple[str, slice] | None:
        for split in _SPLITS:
            place = self._index(row.language, split).get(row.content)
            if place is not None:
                return split, place
        return None

    def _index(self, code: str, split: str) -> dict[str, slice]:
        if (code, split) not in self._places:
            index: dict[str, slice] = {}
            begin = 0
            for row in self._rowset.rows.get(code, {}).get(split, ()):
                index.setdefault(row.content, slice(begin, begin + row.num_units))
                begin += row.num_units
            self._places[code, split] = index
        return self._places[code, split]

    def _language(self, code: str, split: str) -> Matrix:
        return self._group(f"{code}-{split}", self._rowset.rows[code][split])

    def _group(self, name: str, rows: Sequence[Example]) -> Matrix:
        key = hashlib.sha256("".join(row.content for row in rows).encode()).hexdigest()[:16]
        label = f"{name}-{key}"
        if label not in self._groups:
            self._groups[label] = self._kept(label, rows)
        return self._groups[label]

    def _kept(self, label: str, rows: Sequence[Example]) -> Matrix:
        file = self._folder / f"{label}.safetensors"
        if not self.encoder.is_kept:
            return self.encoder.rows(rows)
        number = sum(row.num_units for row in rows)
        if file.is_file() and (found := _read(file, number)) is not None:
            return found
        vectors = np.ascontiguousarray(self.encoder.rows(rows), dtype=np.float32)
        from safetensors.numpy import save_file

        with atomic_write(file) as partial:
            save_file({"vectors": vectors}, partial)
        return vectors


def _read(file: Path, number: int) -> np.ndarray | None:
    """The vectors of a file; None if they must be made again."""
    try:
        vectors = read_arrays(file).get("vectors")
    except BadInput:
        return None
    return vectors if vectors is not None and vectors.ndim == 2 and len(vectors) == number else None


def _joined(parts: Sequence[tuple[Any, slice]]) -> Matrix:
    if not parts:
        return np.empty((0, 0), dtype=np.float32)
    if isinstance(parts[0][0], np.ndarray):
        return np.concatenate([matrix[place] for matrix, place in parts])
    from scipy.sparse import vstack

    # One gather for each matrix: slices of sparse matrices, row by row, take far longer.
    matrices = list({id(matrix): matrix for matrix, _ in parts}.values())
    first = {id(m): sum(other.shape[0] for other in matrices[:i]) for i, m in enumerate(matrices)}
    order = [first[id(matrix)] + row for matrix, place in parts for row in range(place.start, place.stop)]
    return vstack(matrices).tocsr()[order]
