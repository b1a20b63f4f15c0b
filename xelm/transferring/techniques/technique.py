"""`Technique`: one way to help transfer, as a change of what is taught, tested, seen or learnt."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from clustering.errors import BadInput
from clustering.registry import Registry
from xelm.recipe.parsing import build, check
from xelm.transferring.cells import Cell
from xelm.transferring.data.examples import Example

if TYPE_CHECKING:
    from xelm.transferring.data.taskdata import Rowset
    from xelm.transferring.features.steps import Step
    from xelm.transferring.translators.translator import Translator

Taught = tuple[list[tuple[str, ...]], list[tuple[float, ...]]]
"""For each row, a label for each thing in it, and how probable that label was."""


class Lab(Protocol):
    """What a technique finds in the experiment."""

    rowset: Rowset
    has_sparse_vectors: bool
    """Whether features are counts in many thousand dimensions, which cannot be changed one by one."""

    def translate(self, translator: Translator, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Translate texts; what was translated is kept (see `xelm.transferring.translators`)."""

    def teach(self, cell: Cell, rows: Sequence[Example], asked: Sequence[Example]) -> Taught:
        """Learn from rows as the plain technique does, and answer unlabelled ones."""

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """JSON values of this name: made once and kept, for what takes long or is random without a seed."""

    def note(self, text: str) -> None:
        """Say something in the report, once."""


@dataclass(frozen=True, kw_only=True)
class Technique:
    """A technique, measured beside the plain one on the same test rows. Fields are keys of its `[[augment]]`.

    A subclass is one file here: it changes the rows that teach, or those that are tested, or the vectors that a frozen
    head sees, or takes another head. It is registered under its `kind` by `@technique`; installed packages add
    techniques by an entry point of the group `xelm.techniques`.
    """

    kind: str
    name: str | None = None
    """Its name in the table. None: its kind."""

    paths: ClassVar[tuple[str, ...]] = ()
    """Fields that hold paths."""

    @property
    def label(self) -> str:
        """Its name in the table."""
        return self.name or self.kind

    def check_keys(self) -> None:
        """Refuse keys that do not go together, functions among them.

        Raises:
            BadInput: If some do not.
        """

    @classmethod
    def kind_name(cls) -> str:
        """Its name in `[[augment]] kind`."""
        return str(next(item.default for item in dataclasses.fields(cls) if item.name == "kind"))

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        """Why it cannot be measured in a cell, in words for the report; None if it can."""
        return None

    def training(self, rows: list[Example], cell: Cell, lab: Lab) -> list[Example]:
        """Rows to learn from, of the plain ones (sources, then shots)."""
        return rows

    def testing(self, rows: list[Example], cell: Cell, lab: Lab) -> list[Example]:
        """Rows to answer in place of the test rows: as many, with the same labels."""
        return rows

    def steps(self) -> tuple[Step, ...]:
        """Changes of the vectors that a frozen head sees."""
        return ()

    def head(self, name: str) -> str:
        """The head to take, of the one of the recipe."""
        return name

    def anchored(self, folder: Path) -> Technique:
        """The same with relative paths starting at a folder."""
        from xelm.transferring.paths import anchor

        changed = {name: anchor(value, folder) for name in self.paths if isinstance(value := getattr(self, name), str)}
        return dataclasses.replace(self, **changed)

    def to_dict(self) -> dict[str, Any]:
        """Its table in a recipe; functions as their names."""
        table = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {key: _named(value) for key, value in table.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Plain(Technique):
    """Zero-shot, or few-shot where there are shots: nothing is changed."""

    kind: str = "plain"


TECHNIQUES: Registry[type[Technique]] = Registry(
    "technique", package="xelm.transferring.techniques", group="xelm.techniques"
)


def technique(cls: type[Technique]) -> type[Technique]:
    """Register a technique under the default of its field `kind`."""
    return TECHNIQUES.register(cls.kind_name(), cls)


@dataclass(frozen=True)
class Techniques:
    """The tables `[[augment]]` of a recipe, in order."""

    items: tuple[Technique, ...] = ()

    @classmethod
    def from_table(cls, value: Any, where: str) -> Techniques:
        """Read them.

        Raises:
            BadInput: For unknown kinds and keys, values of the wrong type, and two of one name.
        """
        check(isinstance(value, list | tuple), f"[[{where}]] must be a list of tables, found {value!r}.")
        items = [_one(table, where) for table in value]
        labels = [item.label for item in items]
        for label in labels:
            if labels.count(label) > 1 or label == Plain.kind_name():
                raise BadInput(f"[[{where}]]: two techniques are called '{label}'. Give each a `name` of its own.")
        return cls(tuple(items))

    def anchored(self, folder: Path) -> Techniques:
        """The same with relative paths starting at a folder."""
        return Techniques(tuple(item.anchored(folder) for item in self.items))

    def to_list(self) -> list[dict[str, Any]]:
        """Their tables."""
        return [item.to_dict() for item in self.items]


def _one(table: Any, where: str) -> Technique:
    check(
        isinstance(table, Mapping) and isinstance(table.get("kind"), str), f"[[{where}]] needs a kind, found {table!r}."
    )
    kind = TECHNIQUES.find(table["kind"], f"[[{where}]] kind")
    known = [item.name for item in dataclasses.fields(kind)]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}."
            raise BadInput(f"unknown key '{key}' in [[{where}]] of kind {table['kind']}: {hint}")
    functions: dict[str, Callable[..., Any]] = {key: value for key, value in table.items() if callable(value)}
    built: Technique = build(kind, {key: value for key, value in table.items() if key not in functions}, where)
    whole = dataclasses.replace(built, **functions)  # type: ignore[arg-type]
    whole.check_keys()
    return whole


def _named(value: Any) -> Any:
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', 'function')}"
    return list(value) if isinstance(value, tuple) else value
