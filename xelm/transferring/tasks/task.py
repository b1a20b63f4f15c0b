"""`Task`: a kind of task as one object: what a row holds, what is answered, how answers are judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from clustering.corpora.rows import Row
from clustering.errors import BadInput
from clustering.registry import Registry
from xelm.transferring.data.examples import Example
from xelm.transferring.measures.figures import macro_f1


class Task(ABC):
    """A kind of task, registered under its `kind` by `@task`; installed packages add kinds by `xelm.tasks`."""

    kind: ClassVar[str]
    label_fields: ClassVar[tuple[str, ...]]
    """Keys of a row that may hold the label, where the recipe names none; the first that a row has is taken."""
    second_fields: ClassVar[tuple[str, ...]] = ()
    """Keys of a row that may hold its second text."""
    trains: ClassVar[bool] = True
    """Whether something is learnt; if not, vectors are compared as they are."""
    unit: ClassVar[str] = "row"
    """What is labelled: `row` or `word`."""

    def __init__(self, second: str | None = None) -> None:
        """Make a task; `second` is the key of the other text, for kinds that have one."""
        if second:
            self.second_fields = (second,)  # type: ignore[misc]

    @abstractmethod
    def example(self, row: Row, language: str, label: Any, where: str) -> Example:
        """A row of a file as an example; `where` names it in messages.

        Raises:
            BadInput: If a part is missing or of the wrong kind.
        """

    def figures(self, rows: Sequence[Example], answers: Sequence[Sequence[str]]) -> dict[str, float]:
        """Figures beside the accuracy, of the rows of one language.

        Args:
            rows: Test rows.
            answers: For each row, the label of each thing in it.
        """
        gold = [label for row in rows for label in row.labels]
        given = [label for own in answers for label in own]
        known = [(g, a) for g, a in zip(gold, given, strict=True) if g is not None]
        return {"macro_f1": macro_f1([g for g, _ in known], [a for _, a in known])} if known else {}


TASKS: Registry[type[Task]] = Registry("kind of task", package="xelm.transferring.tasks", group="xelm.tasks")


def task(cls: type[Task]) -> type[Task]:
    """Register a kind of task under its `kind`."""
    return TASKS.register(cls.kind, cls)


def class_of(label: Any, where: str) -> str | None:
    """A class as text: numbers and truth values of JSON may name one too.

    Raises:
        BadInput: If it is a list or a table.
    """
    if label is None or label == "":
        return None
    if not isinstance(label, str | int | float | bool):
        raise BadInput(f"{where}: the label {label!r} is no class; a text or a number is expected. See [task] kind.")
    return str(label)


def second_text(row: Row, names: Sequence[str], where: str) -> str:
    """The other text of a row.

    Raises:
        BadInput: If none of the keys holds one.
    """
    values = row.values or {}
    found = next((values[name] for name in names if isinstance(values.get(name), str)), None)
    if found is None:
        keys = ", ".join(map(str, values))
        raise BadInput(
            f"{where}: no second text under {' or '.join(names)} (found: {keys}). Name its key: [task] second."
        )
    return str(found)
