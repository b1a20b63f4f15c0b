"""Centring by language: the mean of each language is taken from its vectors."""

from __future__ import annotations

from dataclasses import dataclass

from xelm.transferring.cells import Cell
from xelm.transferring.features.steps import Centre, Step
from xelm.transferring.techniques.technique import Lab, Technique, technique


@technique
@dataclass(frozen=True, kw_only=True)
class Center(Technique):
    """The head sees vectors less the mean of their language, of unlabelled training text."""

    kind: str = "center"

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        if not lab.rowset.task.trains:
            return None
        missing = [code for code in (*cell.languages, cell.target) if not lab.rowset.rows[code]["train"]]
        return f"no training text of {', '.join(missing)} to take the mean of" if missing else None

    def steps(self) -> tuple[Step, ...]:
        return (Centre(),)
