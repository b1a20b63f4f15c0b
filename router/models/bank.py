"""The common interface of experts on one shared base, whatever they change of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Bank(Protocol):
    """Experts of one base model in memory: a `LoraBank` or a `LayerBank`."""

    base: Any

    @property
    def names(self) -> tuple[str, ...]:
        """Experts added so far."""
        ...

    def add(self, name: str, folder: str | Path) -> None:
        """Read an expert."""
        ...

    def model_for_rows(self, names: Sequence[str | None]) -> Any:
        """The base with one expert for each row of its batches (None: the bare base)."""
        ...

    def using(self, adapters: Sequence[int]) -> AbstractContextManager[None]:
        """Run the base with these experts, by index in `names`, one for each row; -1 for none."""
        ...
