"""`Experiment`: the data, the models and the techniques of a recipe, and what each cell teaches and asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.files import read_json, write_json
from xelm.transferring.answers import AnswerFiles, test_name
from xelm.transferring.bases.base import ONLY, CannotError, ModelBase, Pass, digest
from xelm.transferring.bases.open import open_base
from xelm.transferring.cells import PLAIN, Cell
from xelm.transferring.data.examples import Example
from xelm.transferring.data.taskdata import Rowset
from xelm.transferring.features.steps import Step
from xelm.transferring.features.store import FeatureStore
from xelm.transferring.heads.head import HEADS, Head, Lesson
from xelm.transferring.planning import Planner, Skipped
from xelm.transferring.recipe import TransferRecipe
from xelm.transferring.shots import draw_shots
from xelm.transferring.sources import SourceChooser
from xelm.transferring.tasks.task import TASKS
from xelm.transferring.techniques.technique import Taught, Technique
from xelm.transferring.translators.translator import Translator, translate

if TYPE_CHECKING:
    from xelm.objectives.objective import Objective

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One model's share in a cell: a lesson, the name of its test, and the weight of its answers for each test row.

    Without weights its answers are all.
    """

    key: str
    head: str
    lesson: Lesson
    test: str
    weights: np.ndarray | None = None


class Experiment:
    """A recipe with everything that it names, in a folder. It is the `Lab` of techniques and the `Desk` of heads."""

    def __init__(self, recipe: TransferRecipe, folder: Path) -> None:
        """Read the data and open the base.

        Raises:
            BadInput: If either cannot be used.
        """
        self.recipe, self.folder = recipe, folder
        self.settings = recipe.base
        kind = TASKS.find(recipe.task.kind)
        self.rowset = Rowset.read(recipe.task, kind(recipe.task.second))
        self.base: ModelBase = open_base(recipe.base, self.rowset)
        self.chooser = SourceChooser(recipe.sources, self.rowset, self.base.tokenizer_name)
        self.has_sparse_vectors = bool(recipe.base.features != "hidden" and self.base.encoder(ONLY).is_sparse)
        self.planner = Planner(recipe, self.rowset, self.chooser, self.base.policies(), self)
        self.files = AnswerFiles(folder / "answers")
        self.notes: dict[str, None] = {}
        self.late_skipped: list[Skipped] = []
        self._stores: dict[str, FeatureStore] = {}
        self._rows: dict[tuple[Any, ...], list[Example]] = {}

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells that can be measured."""
        return self.planner.cells()

    @property
    def skipped(self) -> list[Skipped]:
        """What cannot be measured, and why."""
        return [*self.planner.skipped, *self.late_skipped]

    def parts(self, cell: Cell) -> list[Part]:
        """What a cell teaches and asks; empty if its policy makes no sense there, which `skipped` then says."""
        item, head = self._technique(cell), self._head(cell.head)
        rows, tests = self._training(cell, item), self.tests(cell)
        test = test_name(cell.target, tests)
        try:
            passes = self.base.passes(cell.policy, rows, cell.languages, cell.target, tests)
            found = []
            for one in passes:
                if reason := head.cannot(one.readers, [one.answerer]):
                    raise CannotError(reason)
                lesson = self._lesson(rows, one, test, tests, item.steps(), cell.seed)
                found.append(Part(self._key(lesson, head), cell.head, lesson, test, one.weights))
            return found
        except CannotError as error:
            skipped = Skipped(cell.technique, cell.target, cell.sources, f"{cell.policy}: {error}")
            self.late_skipped += [skipped] if skipped not in self.late_skipped else []
            return []

    def tests(self, cell: Cell) -> list[Example]:
        """The rows that are answered."""
        plain = self.rowset.asked(cell.target, cell.languages)
        return self._technique(cell).testing(plain, cell, self)

    def answers(self, cell: Cell, parts: Sequence[Part]) -> np.ndarray:
        """Probabilities of the classes for each thing in the test rows, of all parts together."""
        mixed: np.ndarray | None = None
        for part in parts:
            rows = part.lesson.tests[part.test]
            own = self.files.read(part.key, part.test, rows)
            if part.weights is not None:
                own = own * np.repeat(part.weights, [row.num_units for row in rows])[:, None]
            mixed = own if mixed is None else mixed + own
        assert mixed is not None
        return mixed

    def do(self, key: str, head: str, lesson: Lesson) -> None:
        """Teach a lesson and keep the answers that are not there yet."""
        missing = [test for test, rows in lesson.tests.items() if not self.files.has(key, test, rows)]
        if not missing:
            return
        found = self._head(head).answer(replace(lesson, tests={test: lesson.tests[test] for test in missing}), self)
        for test, probabilities in found.items():
            self.files.write(key, test, probabilities)

    # What heads find here.

    def store(self, model: str) -> FeatureStore:
        """Vectors of rows under a model."""
        if model not in self._stores:
            self._stores[model] = FeatureStore(self.base.encoder(model), self.rowset, self.folder / "features")
        return self._stores[model]

    def load(self, model: str) -> tuple[Any, Any]:
        """A model without its output layer, and its tokenizer."""
        return self.base.load(model)

    def speaker(self, model: str) -> tuple[Any, Any, Objective]:
        """A model with its output layer, its tokenizer, and what it was trained to do."""
        return self.base.speaker(model)

    # What techniques find here.

    def translate(self, translator: Translator, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Translate texts; what was translated is kept."""
        return translate(translator, texts, source, target, self.folder / "translations")

    def teach(self, cell: Cell, rows: Sequence[Example], asked: Sequence[Example]) -> Taught:
        """Learn from rows as the plain technique does, and answer unlabelled ones."""
        head = self._head(cell.head)
        one = self.base.passes(cell.policy, rows, cell.languages, cell.target, asked)[0]
        test = test_name(cell.target, asked)
        lesson = self._lesson(rows, one, test, asked, (), cell.seed)
        key = self._key(lesson, head)
        self.do(key, cell.head, lesson)
        probabilities = self.files.read(key, test, asked)
        labels, shares, begin = [], [], 0
        for row in asked:
            own = probabilities[begin : begin + row.num_units]
            begin += row.num_units
            labels.append(tuple(lesson.labels[number] for number in own.argmax(axis=1)))
            shares.append(tuple(float(value) for value in own.max(axis=1)))
        return labels, shares

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """JSON values of this name: made once and kept."""
        file = self.folder / "kept" / f"{name}.json"
        if not file.is_file():
            write_json(file, make())
        return read_json(file)

    def note(self, text: str) -> None:
        """Say something in the report, once."""
        self.notes.setdefault(text)

    def _lesson(
        self,
        rows: Sequence[Example],
        one: Pass,
        test: str,
        tests: Sequence[Example],
        steps: tuple[Step, ...],
        seed: int,
    ) -> Lesson:
        labels = self._labels(rows)
        return Lesson(self.rowset.task, labels, rows, one.readers, {test: tests}, {test: one.answerer}, steps, seed)

    def _technique(self, cell: Cell) -> Technique:
        return next(item for item in self.planner.techniques if item.label == cell.technique)

    def _head(self, name: str) -> Head:
        return HEADS.find(name)(self.recipe.train)

    def _training(self, cell: Cell, item: Technique) -> list[Example]:
        """Rows to learn from; made once for cells that differ in model and head alone."""
        known: tuple[Any, ...] = (item.label, cell.languages, cell.shots)
        if not self.rowset.task.trains:
            known = (*known, cell.target)
        elif item.label != PLAIN or cell.shots:
            known = (*known, cell.target, cell.draw, cell.seed, cell.policy, cell.head)
        if known not in self._rows:
            self._rows[known] = item.training(self._plain_rows(cell), cell, self)
        return self._rows[known]

    def _plain_rows(self, cell: Cell) -> list[Example]:
        if not self.rowset.task.trains:
            return self.rowset.offered(cell.target, cell.languages)
        rows = [row for code in cell.languages for row in self.rowset.train(code)]
        if not cell.shots:
            return rows
        train = self.recipe.train
        shots = draw_shots(self.rowset.train(cell.target), cell, per_class=train.per_class)
        return [*rows, *(shots * train.repeat_shots)]

    def _labels(self, rows: Sequence[Example]) -> list[str]:
        if self.rowset.task.trains:
            return self.rowset.labels
        return [str(row.label) for row in rows]

    def _key(self, lesson: Lesson, head: Head) -> str:
        """A fingerprint of everything that decides the answers, except the rows that are asked."""
        models = sorted({*lesson.readers, *lesson.answerers.values()})
        value = {
            "task": lesson.task.kind,
            "labels": list(lesson.labels),
            "rows": [[row.content, row.language, row.labels] for row in lesson.rows],
            "readers": lesson.readers if len(set(lesson.readers)) > 1 else lesson.readers[:1],
            "answerer": sorted(set(lesson.answerers.values())),
            "models": {name: self._model_key(name, head) for name in models},
            "steps": [repr(step) for step in lesson.steps],
            "head": head.key(),
            "seed": lesson.seed if head.is_random else None,
        }
        return digest(value)

    def _model_key(self, name: str, head: Head) -> Any:
        if head.is_frozen:
            return self.base.encoder(name).key
        s = self.settings
        return [*self.base.identity(name), s.pool, s.layer, s.prefix, s.max_length]
