"""How an expert was moved back to the base: a share of the whole way, and layers put back altogether."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xelm.run.records.manifest import ModelEntry


@dataclass(frozen=True)
class Moved:
    """What of the way from the base to the trained expert is kept."""

    keep: float = 1.0
    """λ, above 0 and up to 1."""
    put_back: tuple[str, ...] = ()
    """Layers (`xelm.models.layer_groups`) whose weights are the base's again."""

    @classmethod
    def of(cls, entry: ModelEntry) -> Moved:
        """As an expert's entry has it."""
        return cls(1.0 if entry.keep is None else entry.keep, tuple(entry.put_back))

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
