"""The rows of a task by language, after rows that would leak from tests into training are left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clustering.errors import BadInput
from clustering.languages.codes import match, to_code
from xelm.transferring.data.examples import Example
from xelm.transferring.data.reading import Rows, read_rows
from xelm.transferring.tasks.task import Task

if TYPE_CHECKING:
    from xelm.transferring.recipe import TaskData

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leaks:
    """Training rows that were left out, since a test holds the same."""

    translations: int = 0
    """Rows whose id a test row of another language has: its translation."""
    repeats: int = 0
    """Rows whose id or text a test row of the same language has."""
    shared_ids: int = 0
    """Ids that stood on both sides."""


@dataclass(frozen=True)
class Rowset:
    """The rows of a task.

    Attributes:
        task: What is to be answered.
        rows: Language -> split -> rows; nothing of `test` is in `train` or `valid`, in any language.
        labels: All classes, sorted.
        leaks: What was left out for that.
        parallel: Whether rows of one id are translations of each other.
    """

    task: Task
    rows: Rows
    labels: list[str]
    leaks: Leaks
    parallel: bool

    @classmethod
    def read(cls, settings: TaskData, task: Task) -> Rowset:
        """Read a task's data.

        Raises:
            BadInput: If rows are missing, and for what `read_rows` and the task refuse.
        """
        rows, leaks = without_leaks(read_rows(settings, task), parallel=settings.parallel)
        if leaks.translations or leaks.repeats:
            logger.warning(
                "%d training rows are left out: %d are translations of test rows (the same id), %d repeat them. If ids "
                "are only row numbers, set [task] parallel = false.",
                leaks.translations + leaks.repeats,
                leaks.translations,
                leaks.repeats,
            )
        labels = sorted(
            {label for splits in rows.values() for own in splits.values() for row in own for label in row.labels}
            - {None},
            key=str,
        )
        if not any(splits["test"] for splits in rows.values()):
            raise BadInput(f"{settings.path}: no language has test rows, so there is nothing to answer.")
        if task.trains and len(labels) < 2:
            found = f"the only label is {labels[0]!r}" if labels else "no row has a label"
            raise BadInput(f"{settings.path}: {found}; a task needs two labels or more. See [task] label.")
        return cls(task, rows, [str(label) for label in labels], leaks, settings.parallel)

    @property
    def languages(self) -> list[str]:
        """All languages, sorted."""
        return sorted(self.rows)

    @property
    def teachers(self) -> list[str]:
        """Languages with labelled training rows."""
        return [code for code in self.languages if any(row.is_labelled for row in self.rows[code]["train"])]

    @property
    def tested(self) -> list[str]:
        """Languages with test rows."""
        return [code for code in self.languages if self.rows[code]["test"]]

    def train(self, code: str) -> list[Example]:
        """Labelled training rows of a language."""
        return [row for row in self.rows[code]["train"] if row.is_labelled]

    def unlabelled(self, code: str) -> list[Example]:
        """Training rows of a language without their labels."""
        return [row.unlabelled() for row in self.rows[code]["train"]]

    def test(self, code: str) -> list[Example]:
        """Test rows of a language."""
        return self.rows[code]["test"]

    def code_of(self, name: str, where: str) -> str:
        """The code under which a language is here.

        Raises:
            BadInput: If it is not here; the message lists those that are.
        """
        code = match(name, self.rows)
        if code is None:
            raise BadInput(f"{where}: the task has no rows of '{name}'. There are: {', '.join(self.languages)}.")
        return code

    def asked(self, target: str, languages: Sequence[str]) -> list[Example]:
        """The rows of a target that are answered: its test rows; for retrieval those that have a translation."""
        if self.task.trains:
            return self.test(target)
        return [replace(row, label=str(row.id), second=None) for row, _ in self._translations(target, languages)]

    def offered(self, target: str, languages: Sequence[str]) -> list[Example]:
        """For retrieval: the sentences of the source among which the translation is."""
        [source] = languages
        pairs = self._translations(target, languages)
        return [replace(twin, label=str(row.id), language=source, second=None) for row, twin in pairs]

    def _translations(self, target: str, languages: Sequence[str]) -> list[tuple[Example, Example]]:
        [source] = languages
        rows = self.test(target)
        if self.task.second_fields:
            return [(row, replace(row, text=row.second or "", made_by="translation")) for row in rows]
        there = {row.id: row for row in self.test(source)} if source in self.rows else {}
        return [(row, there[row.id]) for row in rows if row.id is not None and row.id in there]

    def pivot_of(self, name: str) -> str:
        """The code of a language to which sentences are matched; it needs no file where rows hold the translation.

        Raises:
            BadInput: If it has no rows and is needed.
        """
        if self.task.second_fields:
            return match(name, self.rows) or to_code(name)
        return self.code_of(name, "[sources]")

    @property
    def test_texts(self) -> frozenset[str]:
        """Texts of all test rows."""
        return frozenset(row.text for code in self.tested for row in self.test(code))


def without_leaks(rows: Rows, *, parallel: bool) -> tuple[Rows, Leaks]:
    """Rows of `train` and `valid` that no test of any language holds, and how many were left out.

    Args:
        rows: All rows.
        parallel: Whether an id is the same sentence in every language. If not, only equal texts count.
    """
    tests = {code: splits["test"] for code, splits in rows.items()}
    ids = Counter(row.id for own in tests.values() for row in own if row.id is not None) if parallel else Counter()
    texts = {row.content for own in tests.values() for row in own}
    own_ids = {code: {row.id for row in own if parallel} for code, own in tests.items()}
    translations, repeats, shared = 0, 0, set()
    kept: Rows = {}
    for code, splits in rows.items():
        kept[code] = {"test": splits["test"]}
        for split in ("train", "valid"):
            good = []
            for row in splits[split]:
                same_id = row.id is not None and row.id in ids
                if same_id:
                    shared.add(row.id)
                if row.content in texts or (same_id and row.id in own_ids[code]):
                    repeats += 1
                elif same_id:
                    translations += 1
                else:
                    good.append(row)
            kept[code][split] = good
    return kept, Leaks(translations, repeats, len(shared))
