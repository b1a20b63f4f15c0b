"""How an expert was moved back to the base: a share of the whole way, layers put back altogether, and single rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xelm.models.layer_groups import UNREAD
from xelm.run.records.manifest import ModelEntry


@dataclass(frozen=True)
class Rows:
    """Rows of the vocabulary that stand for pieces an expert never read."""

    unread: frozenset[int] = frozenset()
    """As the expert was when it was moved."""
    read_since: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Language that joined the expert later -> pieces of its text."""

    @property
    def ids(self) -> frozenset[int]:
        """The rows that are the base's."""
        return self.unread.difference(*self.read_since.values())

    def joined_by(self, code: str, pieces: frozenset[int]) -> Rows:
        """The same when the expert has learned a language more."""
        return Rows(self.unread, {**self.read_since, code: self.unread & pieces})

    def left_by(self, code: str) -> Rows:
        """The same without a language that had joined."""
        return Rows(self.unread, {other: read for other, read in self.read_since.items() if other != code})


@dataclass(frozen=True)
class Moved:
    """What of the way from the base to the trained expert is kept."""

    keep: float = 1.0
    """λ, above 0 and up to 1."""
    put_back: tuple[str, ...] = ()
    """Layers (`xelm.models.layer_groups`) whose weights are the base's again; `unread`: rows of the vocabulary."""
    rows: Rows = field(default=Rows(), compare=False)
    """With `unread`: which rows."""

    @classmethod
    def of(cls, entry: ModelEntry) -> Moved:
        """As an expert's entry has it."""
        return cls(1.0 if entry.keep is None else entry.keep, tuple(entry.put_back))

    def with_rows(self, rows: Rows) -> Moved:
        """The same with rows of the vocabulary put back as well; no rows: the same."""
        return replace(self, put_back=(*self.put_back, UNREAD), rows=rows) if rows.ids else self

    @property
    def is_trained(self) -> bool:
        """Whether the expert is as it was trained."""
        return self == Moved()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of an expert's entry."""
        return {"keep": None if self.keep == 1 else self.keep, "put_back": list(self.put_back)}


def moved_of(entries: Mapping[str, ModelEntry]) -> dict[str, Moved]:
    """The experts that are not as they were trained."""
    found = {name: Moved.of(entry) for name, entry in entries.items()}
    return {name: moved for name, moved in found.items() if not moved.is_trained}
