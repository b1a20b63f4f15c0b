"""Find the translation of each sentence among all sentences of the other language; nothing is learnt."""

from __future__ import annotations

from typing import Any

from clustering.corpora.rows import Row
from xelm.transferring.data.examples import Example
from xelm.transferring.tasks.task import Task, second_text, task


@task
class Retrieval(Task):
    """Which sentence of the source language is the translation (accuracy at 1).

    Translations are rows of one id, or, with `[task] second`, a key of the row itself (`eng` in Tatoeba's files).
    """

    kind = "retrieval"
    label_fields = ()
    trains = False

    def example(self, row: Row, language: str, label: Any, where: str) -> Example:
        second = second_text(row, self.second_fields, where) if self.second_fields else None
        return Example(row.text, language, None, row.id, second=second)
