"""A class for each pair of texts: entailment, paraphrase, an answer to a question."""

from __future__ import annotations

from typing import Any

from clustering.corpora.rows import Row
from xelm.transferring.data.examples import Example
from xelm.transferring.tasks.task import Task, class_of, second_text, task


@task
class Pair(Task):
    """A class for each pair of texts in one language."""

    kind = "pair"
    label_fields = ("label", "class")
    second_fields = ("second", "text2", "sentence2", "hypothesis")

    def example(self, row: Row, language: str, label: Any, where: str) -> Example:
        second = second_text(row, self.second_fields, where)
        return Example(row.text, language, class_of(label, where), row.id, second=second)
