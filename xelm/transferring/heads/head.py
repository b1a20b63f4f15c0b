"""`Head`: what learns a task from rows and answers the rows of tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from clustering.registry import Registry
from xelm.transferring.data.examples import Example

if TYPE_CHECKING:
    from xelm.objectives.objective import Objective
    from xelm.transferring.features.steps import Step
    from xelm.transferring.features.store import FeatureStore
    from xelm.transferring.recipe import TaskBase, Teaching
    from xelm.transferring.tasks.task import Task


@dataclass(frozen=True)
class Lesson:
    """What is taught once, and every test that is then answered.

    Attributes:
        task: What is answered.
        labels: All classes in order.
        rows: Rows to learn from.
        readers: For each row, the name of the model that reads it.
        tests: Name of a test -> its rows.
        answerers: Name of a test -> the name of the model that answers.
        steps: Changes of frozen features.
        seed: Of everything random.
    """

    task: Task
    labels: Sequence[str]
    rows: Sequence[Example]
    readers: Sequence[str]
    tests: Mapping[str, Sequence[Example]]
    answerers: Mapping[str, str]
    steps: Sequence[Step] = ()
    seed: int = 0

    def classes(self) -> np.ndarray:
        """The number of each thing's class over all rows, -1 where it is not known."""
        place = {label: number for number, label in enumerate(self.labels)}
        return np.array([-1 if label is None else place[label] for row in self.rows for label in row.labels])


class Desk(Protocol):
    """What a head finds where it works."""

    settings: TaskBase

    def store(self, model: str) -> FeatureStore:
        """Vectors of rows under a model."""

    def load(self, model: str) -> tuple[Any, Any]:
        """A model without its output layer, of which the head may change every weight, and its tokenizer."""

    def speaker(self, model: str) -> tuple[Any, Any, Objective]:
        """A model with its output layer, its tokenizer, and what it was trained to do."""


class Head(ABC):
    """A way to learn a task, registered under its `name` by `@head`; packages add ways by `xelm.heads`."""

    name: ClassVar[str]
    is_frozen: ClassVar[bool] = False
    """Whether it only sees vectors of a model that does not change, so that steps can change these."""
    is_random: ClassVar[bool] = True
    """Whether its answers depend on the seed."""

    def __init__(self, settings: Teaching) -> None:
        self.settings = settings

    def key(self) -> list[Any]:
        """Everything of the settings that decides its answers."""
        return [self.name]

    def cannot(self, readers: Sequence[str], answerers: Sequence[str]) -> str | None:
        """Why rows that these models read cannot be learnt from, to be answered by those; None if they can."""
        return None

    @abstractmethod
    def answer(self, lesson: Lesson, desk: Desk) -> dict[str, np.ndarray]:
        """Learn, and answer all tests.

        Returns:
            Name of a test -> how probable each class is for each thing in its rows, shape (things, classes).
        """


HEADS: Registry[type[Head]] = Registry("way to learn", package="xelm.transferring.heads", group="xelm.heads")


def head(cls: type[Head]) -> type[Head]:
    """Register a way to learn under its `name`."""
    return HEADS.register(cls.name, cls)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities from scores, row by row."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
