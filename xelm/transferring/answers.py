"""Answers to test rows, kept in a file each as soon as they are there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write, read_arrays
from xelm.transferring.data.examples import Example


def test_name(target: str, rows: Sequence[Example]) -> str:
    """What a test is called: its language, and a fingerprint of its rows (which a technique may have changed)."""
    asked = hashlib.sha256("".join(row.content for row in rows).encode()).hexdigest()[:12]
    return f"{target}-{asked}"


class AnswerFiles:
    """Probabilities of classes by lesson and test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, key: str, test: str, rows: Sequence[Example]) -> bool:
        """Whether they are there; a damaged file is not, and is made again."""
        return self._load(key, test, rows) is not None

    def read(self, key: str, test: str, rows: Sequence[Example]) -> np.ndarray:
        """Shape (things, classes), float64.

        Raises:
            BadInput: If they are not there.
        """
        found = self._load(key, test, rows)
        if found is None:
            raise BadInput(f"{self._file(key, test)}: missing. Run the same command again.")
        return found.astype(np.float64)

    def write(self, key: str, test: str, probabilities: np.ndarray) -> None:
        """Keep them, as float32."""
        from safetensors.numpy import save_file

        with atomic_write(self._file(key, test)) as partial:
            save_file({"probabilities": np.ascontiguousarray(probabilities, dtype=np.float32)}, partial)

    def _load(self, key: str, test: str, rows: Sequence[Example]) -> np.ndarray | None:
        file = self._file(key, test)
        if not file.is_file():
            return None
        try:
            found = read_arrays(file).get("probabilities")
        except BadInput:
            return None
        number = sum(row.num_units for row in rows)
        return found if found is not None and found.ndim == 2 and len(found) == number else None

    def _file(self, key: str, test: str) -> Path:
        return self._folder / key / f"{test}.safetensors"
