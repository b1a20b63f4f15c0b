"""The training of a student: blocks of all languages, with the teacher beside them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xelm.corpus.blocks import Blocks
from xelm.corpus.mixture import mixture
from xelm.distilling.lessons import StudentBatches, Teaching, token_batch
from xelm.distilling.student import Student
from xelm.distilling.teacher import Teacher
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.budgets.steps import StageBudget, steps_of
from xelm.making.make_model import Making, make_model
from xelm.making.portable import portable
from xelm.objectives.objective import OBJECTIVES, Batches
from xelm.recipe.recipe import Train
from xelm.run.experts import ExpertSet
from xelm.run.records.manifest import ModelEntry
from xelm.training.stage import Stage

_NAME = "student"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """The training of a student."""

    experts: ExpertSet
    settings: Train
    teacher: Teacher
    teaching: Teaching
    key: str

    def __post_init__(self) -> None:
        # Whether these models can teach is known before any text is read.
        token_batch(self._inner(), np.zeros((1, 8), dtype=np.int64), np.arange(8)[None], np.arange(1), 0.0)

    def _inner(self) -> Batches:
        """Batches of the run's objective; of pairs, a student reads the sides as text."""
        objective = self.experts.objective
        objective = OBJECTIVES.find("masked") if objective.reads_pairs else objective
        return objective.batches(self.experts.tokenizer(), self.settings, _NAME)

    def of(self, student: Student, blocks: Mapping[str, Blocks], work: Path) -> tuple[Path, ModelEntry]:
        """Train it: its folder under `work`, and its record."""
        stage = self._stage(blocks, work)
        entry = ModelEntry(sorted(blocks), portable(student.name), fingerprint=self.key)
        making = Making(
            work / f"student-{self.key[:12]}",
            entry,
            student.load,
            ExpertKind.of(kind="full"),
            stage,
            self.experts.tokenizer(),
        )
        logger.info("student: %s tokens, taught by %s", f"{stage.num_tokens:,}", ", ".join(self.experts.names))
        return making.folder, make_model(making, work / "training.jsonl")

    def _stage(self, blocks: Mapping[str, Blocks], work: Path) -> Stage:
        settings, inner = self.settings, self._inner()
        size = {"batch_size": settings.batch_size, "sequence_length": next(iter(blocks.values())).sequence_length}
        steps = steps_of(settings.tokens, **size)
        num_blocks = {code: len(own) for code, own in blocks.items()}
        phases = mixture(num_blocks, settings, steps * settings.batch_size)
        budget = StageBudget.of(_NAME, steps, phases, num_blocks, **size)
        stage = budget.stage(blocks, settings, work / f"checkpoints-{self.key[:12]}", batches=inner)
        taught = StudentBatches(inner, self.teacher, stage.blocks, stage.order, self.teaching)
        return dataclasses.replace(stage, batches=taught)
