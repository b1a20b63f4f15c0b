"""Translate-train, translate-test and back-translation, by any translator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clustering.languages.codes import same_language_key, to_code
from xelm.recipe.parsing import check
from xelm.transferring.cells import Cell
from xelm.transferring.data.examples import Example
from xelm.transferring.techniques.technique import Lab, Technique, technique
from xelm.transferring.translators.kinds import Command, FunctionTranslator, ModelTranslator
from xelm.transferring.translators.translator import Translator

NO_TRANSLATOR = "the translator does not serve these languages"


@dataclass(frozen=True, kw_only=True)
class Translated(Technique):
    """A technique that needs a translator: exactly one of `command`, `model` and `translate`."""

    command: str | None = None
    """A shell command that reads lines and writes as many (`apertium -u eng-spa`). `{source}` and `{target}` in it
    stand for ISO 639-3 codes; without them it serves the two languages that `source` and `target`, or its last word,
    name."""
    model: str | None = None
    """A translation model of transformers, hub id or path."""
    translate: Callable[..., Any] | None = None
    """In Python: a function from (lines, source, target) to as many lines."""
    source: str | None = None
    """The language that a command or model translates from, where it serves one pair alone."""
    target: str | None = None
    """The language that it translates to."""

    paths = ("model",)

    def check_keys(self) -> None:
        given = [name for name in ("command", "model", "translate") if getattr(self, name) is not None]
        check(len(given) == 1, f'[[augment]] kind = "{self.kind}" needs a command or a model: exactly one of them.')
        for name in ("source", "target"):
            if getattr(self, name):
                to_code(getattr(self, name))

    def translator(self) -> Translator:
        """What translates."""
        if self.command is not None:
            return Command(self.command)
        if self.model is not None:
            return ModelTranslator(self.model)
        assert self.translate is not None
        return FunctionTranslator(self.translate)

    def serves(self, source: str, target: str) -> bool:
        """Whether the translator is for these languages, by what the recipe says."""
        named = Command(self.command).pair() if self.command is not None else None
        first, second = named or (None, None)
        wanted = ((self.source or first, source), (self.target or second, target))
        return all(name is None or same_language_key(to_code(name)) == same_language_key(code) for name, code in wanted)

    def translated(self, rows: Sequence[Example], source: str, target: str, lab: Lab) -> list[Example]:
        """Rows in another language, with their labels."""
        firsts = lab.translate(self.translator(), [row.text for row in rows], source, target)
        seconds: Sequence[str | None] = [None] * len(rows)
        if any(row.second is not None for row in rows):
            seconds = lab.translate(self.translator(), [row.second or "" for row in rows], source, target)
        return [
            replace(row, text=first, second=second, language=target, made_by=self.label)
            for row, first, second in zip(rows, firsts, seconds, strict=True)
        ]

    def _refuse_words(self, lab: Lab) -> str | None:
        return "translation does not keep words in place; use project" if lab.rowset.task.unit == "word" else None


@technique
@dataclass(frozen=True, kw_only=True)
class TranslateTrain(Translated):
    """The sources' rows are translated into the target, and teach with the rows as they are."""

    kind: str = "translate-train"
    keep: bool = True
    """Whether the rows as they are teach too."""

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        served = [code for code in cell.languages if self.serves(code, cell.target)]
        return self._refuse_words(lab) or (None if served else NO_TRANSLATOR)

    def training(self, rows: list[Example], cell: Cell, lab: Lab) -> list[Example]:
        made: list[Example] = []
        for code in cell.languages:
            own = [row for row in rows if row.language == code]
            if code != cell.target and self.serves(code, cell.target):
                made += [row for row in self.translated(own, code, cell.target, lab) if row.text]
        kept = rows if self.keep else [row for row in rows if row.language == cell.target]
        return [*kept, *made]


@technique
@dataclass(frozen=True, kw_only=True)
class TranslateTest(Translated):
    """Test rows are translated into the source language and answered there."""

    kind: str = "translate-test"

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        return self._refuse_words(lab) or (None if self._pivot(cell) else NO_TRANSLATOR)

    def testing(self, rows: list[Example], cell: Cell, lab: Lab) -> list[Example]:
        pivot = self._pivot(cell)
        assert pivot is not None
        return self.translated(rows, cell.target, pivot, lab)

    def _pivot(self, cell: Cell) -> str | None:
        return next((code for code in cell.languages if self.serves(cell.target, code)), None)


@technique
@dataclass(frozen=True, kw_only=True)
class BackTranslate(Translated):
    """Unlabelled text of the target is translated into a source language and labelled there; the text itself teaches.

    What the plain head answers with at least `least` becomes the label.
    """

    kind: str = "back-translate"
    least: float = 0.5
    """How probable an answer must be to become a label."""

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        if not lab.rowset.rows[cell.target]["train"]:
            return f"no training text of {cell.target}"
        return self._refuse_words(lab) or (None if self._pivot(cell) else NO_TRANSLATOR)

    def training(self, rows: list[Example], cell: Cell, lab: Lab) -> list[Example]:
        pivot = self._pivot(cell)
        assert pivot is not None
        shots = {row.content for row in rows}
        texts = [row for row in lab.rowset.unlabelled(cell.target) if row.content not in shots]
        answers, sure = lab.teach(cell, rows, self.translated(texts, cell.target, pivot, lab))
        made = [
            replace(row, label=answer[0], made_by=self.label)
            for row, answer, share in zip(texts, answers, sure, strict=True)
            if share[0] >= self.least
        ]
        lab.note(f"{self.label}, {cell.target}: {len(made)} of {len(texts)} texts labelled")
        return [*rows, *made]

    def _pivot(self, cell: Cell) -> str | None:
        return next((code for code in cell.languages if self.serves(cell.target, code)), None)
