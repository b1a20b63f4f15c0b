"""The cells of an experiment: everything that is measured, in order, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xelm.transferring.cells import NONE, OWN, Cell
from xelm.transferring.data.taskdata import Rowset
from xelm.transferring.heads.head import HEADS
from xelm.transferring.recipe import TransferRecipe
from xelm.transferring.sources import SourceChooser
from xelm.transferring.techniques.technique import Lab, Plain, Technique

RETRIEVAL_HEAD = "nearest"


@dataclass(frozen=True)
class Skipped:
    """Cells that cannot be measured, and why."""

    technique: str
    target: str
    sources: str
    reason: str


class Planner:
    """Lists the cells of a recipe."""

    def __init__(
        self, recipe: TransferRecipe, rowset: Rowset, chooser: SourceChooser, policies: Sequence[str], lab: Lab
    ) -> None:
        self._recipe, self._rowset, self._chooser, self._policies, self._lab = recipe, rowset, chooser, policies, lab
        named = recipe.evaluate.targets
        self.targets = (
            [rowset.code_of(name, "[evaluate] targets") for name in named] if named is not None else rowset.tested
        )
        self.heads = recipe.train.adapters if rowset.task.trains else (RETRIEVAL_HEAD,)
        self.skipped: list[Skipped] = []

    @property
    def techniques(self) -> list[Technique]:
        """The plain one, then those of the recipe."""
        from xelm.transferring.techniques.center import Center
        from xelm.transferring.techniques.translated import TranslateTest

        extra: list[Technique] = [Center()] if self._recipe.base.center else []
        if self._recipe.evaluate.translate_test:
            extra.append(TranslateTest(command=self._recipe.evaluate.translate_test))
        known = {item.label for item in self._recipe.augment.items}
        return [Plain(), *(item for item in extra if item.label not in known), *self._recipe.augment.items]

    def cells(self) -> list[Cell]:
        """All cells that can be measured, without repetition; `skipped` then says which cannot."""
        self.skipped = []
        found: dict[Cell, None] = {}
        for policy in self._policies:
            for head in self.heads:
                for item in self.techniques:
                    for name in self._chooser.sets:
                        found |= dict.fromkeys(self._of_set(item, policy, head, name))
                if self._measures_own(head):
                    found |= dict.fromkeys(self._own(policy, head))
        return list(found)

    def _measures_own(self, head: str) -> bool:
        own = self._recipe.evaluate.own
        return self._rowset.task.trains and (HEADS.find(head).is_frozen if own is None else own)

    def _of_set(self, item: Technique, policy: str, head: str, name: str) -> Iterator[Cell]:
        for shots in self._recipe.train.shots if self._rowset.task.trains else (0,):
            home: dict[str, None] = {}
            for target in self.targets:
                languages = self._chooser.languages(name, target)
                home |= dict.fromkeys(languages)
                if (target in languages and (shots or name not in self._chooser.candidates)) or not (
                    languages or shots
                ):
                    continue
                if target in languages and not isinstance(item, Plain):
                    continue
                yield from self._replicates(item, policy, head, name, languages, target, shots)
            if isinstance(item, Plain) and not shots and self._rowset.task.trains:
                for code in home:  # how well the sources do at home, which gaps need
                    if code in self._rowset.tested:
                        yield from self._replicates(item, policy, head, code, (code,), code, 0)
                        own = self._chooser.languages(name, code)
                        if code in own:
                            yield from self._replicates(item, policy, head, name, own, code, 0)

    def _own(self, policy: str, head: str) -> Iterator[Cell]:
        for target in self.targets:
            if target in self._rowset.teachers:
                yield from self._replicates(Plain(), policy, head, OWN, (target,), target, 0)

    def _replicates(
        self,
        item: Technique,
        policy: str,
        head: str,
        name: str,
        languages: tuple[str, ...],
        target: str,
        shots: int,
    ) -> Iterator[Cell]:
        train = self._recipe.train
        cells = [
            Cell(item.label, policy, item.head(head), name, languages, target, shots, draw, seed)
            for seed in range(train.seeds)
            for draw in range(train.draws or 1)
        ]
        reason = self._cannot(item, cells[0])
        if reason:
            skipped = Skipped(item.label, target, name, reason)
            self.skipped += [skipped] if skipped not in self.skipped else []
            return
        yield from cells

    def _cannot(self, item: Technique, cell: Cell) -> str | None:
        head = HEADS.find(cell.head)
        if item.steps() and not head.is_frozen:
            return f"changes frozen vectors, which adapter = '{cell.head}' has none of"
        if item.steps() and self._lab.has_sparse_vectors:
            return "changes dense vectors, and n-grams are sparse"
        if cell.shots and (reason := self._too_few(cell)):
            return reason
        if not cell.languages and cell.sources != NONE:
            return "no source"
        return item.cannot(cell, self._lab)

    def _too_few(self, cell: Cell) -> str | None:
        rows = self._rowset.train(cell.target) if cell.target in self._rowset.rows else []
        if not self._recipe.train.per_class:
            return f"{len(rows)} labelled rows, fewer than {cell.shots} shots" if len(rows) < cell.shots else None
        for label in self._rowset.labels:
            number = sum(1 for row in rows if label in row.labels)
            if number < cell.shots:
                return f"{number} labelled rows of class {label}, fewer than {cell.shots} shots"
        return None
