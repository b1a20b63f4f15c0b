"""Answers without learning: the model fills templates, and the likeliest word names the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from clustering.errors import BadInput
from clustering.progress import show_progress
from xelm.transferring.cloze.templates import TemplateFile, Templates
from xelm.transferring.data.examples import Example
from xelm.transferring.heads.head import Desk, Head, Lesson, head, softmax

_ROWS = 16


@head
class ClozeHead(Head):
    """Each label's word is put into the templates of the row's language, and scored by the model (PET: Schick & Schütze
    2021): by a causal model as `lm.score` does, by a masked one under masks, by T5 and its like in a gap.

    The rows that teach are not read.
    """

    name = "cloze"
    is_random = False

    def key(self) -> list[Any]:
        return [self.name, self._file.key]

    @cached_property
    def _file(self) -> TemplateFile:
        if self.settings.templates is None:
            raise BadInput('[train] adapter = "cloze" needs templates = "templates.toml".')
        return TemplateFile.read(self.settings.templates)

    def answer(self, lesson: Lesson, desk: Desk) -> dict[str, np.ndarray]:
        if lesson.task.unit != "row":
            raise BadInput(f'adapter = "cloze" answers whole texts; [task] kind = "{lesson.task.kind}" labels words.')
        found = {}
        for test, rows in lesson.tests.items():
            is_pair = any(row.second is not None for row in rows)
            languages = {row.language for row in rows}
            templates = {code: self._file.of(code, lesson.labels, is_pair=is_pair) for code in languages}
            speaker = desk.speaker(lesson.answerers[test])
            found[test] = softmax(_scores(rows, lesson.labels, templates, speaker, desk.settings.max_length))
        return found


def _scores(
    rows: Sequence[Example], labels: Sequence[str], templates: dict[str, Templates], speaker: Any, most: int
) -> np.ndarray:
    """Scores of labels, shape (rows, labels): the mean over the templates."""
    model, tokenizer, objective = speaker
    parts = []
    with show_progress(desc="fill templates", unit="text", total=len(rows)) as bar:
        for start in range(0, len(rows), _ROWS):
            batch = [_shortened(row, tokenizer, most) for row in rows[start : start + _ROWS]]
            clozes = [
                [cloze for label in labels for cloze in templates[row.language].clozes(row, label)] for row in batch
            ]
            values = objective.cloze_log_probs(model, [cloze for own in clozes for cloze in own], tokenizer)
            ends = np.cumsum([len(own) for own in clozes])
            parts += [own.reshape(len(labels), -1).mean(axis=1) for own in np.split(values, ends[:-1])]
            bar.update(len(batch))
    return np.array(parts).reshape(len(rows), len(labels))


def _shortened(row: Example, tokenizer: Any, most: int) -> Example:
    """The row with its texts cut to a number of tokens in all, so that the template around them stays whole."""
    texts = [row.text] if row.second is None else [row.text, row.second]
    cut = []
    for text in texts:
        options = {"add_special_tokens": False, "truncation": True, "max_length": most // len(texts)}
        offsets = tokenizer(text, return_offsets_mapping=True, verbose=False, **options)["offset_mapping"]
        cut.append(text[: offsets[-1][1]] if offsets else text)
    return replace(row, text=cut[0], second=None if row.second is None else cut[1])
