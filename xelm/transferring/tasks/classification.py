"""A class for each text."""

from __future__ import annotations

from typing import Any

from clustering.corpora.rows import Row
from xelm.transferring.data.examples import Example
from xelm.transferring.tasks.task import Task, class_of, task


@task
class Classification(Task):
    """A class for each text: topics, sentiment, intents."""

    kind = "classification"
    label_fields = ("label", "category", "class")

    def example(self, row: Row, language: str, label: Any, where: str) -> Example:
        return Example(row.text, language, class_of(label, where), row.id)
