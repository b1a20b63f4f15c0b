"""CSLS for retrieval: sentences that are near to everything are counted less."""

from __future__ import annotations

from dataclasses import dataclass

from xelm.transferring.cells import Cell
from xelm.transferring.techniques.technique import Lab, Technique, technique


@technique
@dataclass(frozen=True, kw_only=True)
class CslsTechnique(Technique):
    """The nearest by 2 cos - r - r instead of by the cosine alone (Conneau et al. 2018)."""

    kind: str = "csls"

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        return "is for retrieval" if lab.rowset.task.trains else None

    def head(self, name: str) -> str:
        return "csls"
