"""Train a model on pairs: what a model by itself and an expert of a run have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput, arg
from xelm.aligning.pairs import PairSet
from xelm.aligning.teaching import Adapter, Teaching, freeze_unread, pairs_print, stage_of
from xelm.expert_kinds.full import Full
from xelm.expert_kinds.kind import ExpertKind
from xelm.expert_kinds.lora import Lora
from xelm.models.base import quiet_transformers
from xelm.training.stage import Stage
from xelm.transferring.features.encoder import Encoder
from xelm.transferring.recipe import TaskBase

REPORT_FILE = "alignment.json"


@dataclass(frozen=True)
class Course:
    """Pairs, how they become vectors, and how they are learnt."""

    pairs: Mapping[str, PairSet]
    settings: TaskBase
    teaching: Teaching

    def refuse_few(self) -> None:
        """Refuse to train on nothing.

        Raises:
            BadInput: If there are fewer than two pairs to learn from.
        """
        number = sum(len(own.fit) for own in self.pairs.values())
        if number < 2:
            raise BadInput(f"{number} pairs to learn from, and at least two are compared. Lower {arg('heldout')}.")

    def identity(self) -> list[Any]:
        """What decides the trained weights, besides those it starts from."""
        s = self.settings
        vectors = [s.layer, s.pool, s.prefix, s.max_length]
        return [pairs_print(self.pairs), self.teaching.identity(), vectors]

    @property
    def numbers(self) -> dict[str, int]:
        """Language -> pairs that are learnt."""
        return {code: len(own.fit) for code, own in self.pairs.items()}

    def stage(
        self, teacher: Encoder, tokenizer: Any, checkpoints: Path, adapter: Adapter, anchor: Mapping[str, float]
    ) -> Stage:
        """The training, with the teacher's vectors of the pivot sentences, which are read now."""
        sentences = list(dict.fromkeys(pair.pivot for own in self.pairs.values() for pair in own.fit))
        targets = np.ascontiguousarray(teacher.texts(sentences), dtype=np.float32)
        pivots = {text: row for row, text in enumerate(sentences)}
        return stage_of(
            "align",
            self.pairs,
            targets,
            pivots,
            tokenizer,
            self.settings,
            self.teaching,
            checkpoints,
            adapter=adapter,
            anchor=anchor,
        )

    def facts(self, stage: Stage, adapter: str) -> dict[str, Any]:
        """What was trained, for the report."""
        own = self.teaching.identity() | {"adapter": adapter, "learning_rate": stage.learning_rate}
        return {"pairs": self.numbers, "steps": stage.num_steps, **own}

    def prepared(self, model: Any, kind: ExpertKind, tokenizer: Any) -> Any:
        """A model of which the weights train that the kind names and the vectors depend on."""
        return freeze_unread(kind.make_trainable(model), tokenizer, self.settings)


@dataclass(frozen=True, kw_only=True)
class Merged(Lora):
    """Adapters that are added to the weights when the model is saved, as a plain checkpoint."""

    absent: tuple[str, ...] = ()
    """Weights that the first checkpoint lacks (a pooler, say), which are not written."""

    def save(self, model: Any, folder: Path, weights: Any) -> None:
        """Write the whole model."""
        _save_plain(model.merge_and_unload(), folder, self.absent)


@dataclass(frozen=True, kw_only=True)
class Whole(Full):
    """All weights, saved without those that the first checkpoint lacks."""

    absent: tuple[str, ...] = ()

    def save(self, model: Any, folder: Path, weights: Any) -> None:
        """Write the whole model."""
        _save_plain(model, folder, self.absent)


def _save_plain(model: Any, folder: Path, absent: tuple[str, ...]) -> None:
    there = {key: value for key, value in model.state_dict().items() if key not in absent}
    with quiet_transformers():
        model.save_pretrained(folder, state_dict=there)


@contextmanager
def memory_in_our_words() -> Iterator[None]:
    """Name the arguments of `align` where the training would name a recipe's.

    Raises:
        MemoryError: With what needs less.
    """
    try:
        yield
    except MemoryError as error:
        what = str(error).split(" Set, ")[0].split(" No setting ")[0]
        raise MemoryError(f"{what} Lower max_length, or step_pairs.") from None
