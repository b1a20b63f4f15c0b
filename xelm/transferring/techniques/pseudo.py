"""Pseudo-labels: what the plain head is sure of, on unlabelled text of the target, teaches a second one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xelm.recipe.parsing import check
from xelm.transferring.cells import Cell
from xelm.transferring.data.examples import Example
from xelm.transferring.techniques.technique import Lab, Technique, technique


@technique
@dataclass(frozen=True, kw_only=True)
class PseudoLabel(Technique):
    """Unlabelled training text of the target, with the labels that the plain head gives (Lee 2013)."""

    kind: str = "pseudo-label"
    share: float = 0.5
    """Share of the texts that are taken: those that the head is surest of. Of words, the surest wherever they stand."""

    def __post_init__(self) -> None:
        check(0 < self.share <= 1, f"[[augment]] share = {self.share}: a share above 0 and at most 1.")

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        return None if lab.rowset.rows[cell.target]["train"] else f"no training text of {cell.target}"

    def training(self, rows: list[Example], cell: Cell, lab: Lab) -> list[Example]:
        known = {row.content for row in rows if row.language == cell.target}
        texts = [row for row in lab.rowset.unlabelled(cell.target) if row.content not in known]
        answers, sure = lab.teach(cell, rows, texts)
        shares = sorted((value for own in sure for value in own), reverse=True)
        least = shares[max(0, round(self.share * len(shares)) - 1)] if shares else 0.0
        made = []
        for row, answer, own in zip(texts, answers, sure, strict=True):
            labels = tuple(label if value >= least else None for label, value in zip(answer, own, strict=True))
            if row.tags is None:
                made.append(replace(row, label=labels[0], made_by=self.label))
            else:
                made.append(replace(row, tags=labels, made_by=self.label))
        return [*rows, *(row for row in made if row.is_labelled)]
