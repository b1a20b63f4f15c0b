"""A label for each word: parts of speech, names (whose labels `B-PER`, `I-PER`, `O` make spans)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clustering.corpora.rows import Row
from clustering.errors import BadInput
from xelm.transferring.data.examples import Example
from xelm.transferring.tasks.task import Task, class_of, task

_SPAN_MARKS = ("B-", "I-", "E-", "S-", "L-", "U-")


@task
class Tagging(Task):
    """A label for each word of a sentence that is cut into words."""

    kind = "tagging"
    label_fields = ("tags", "upos", "ner_tags", "labels")
    unit = "word"

    def example(self, row: Row, language: str, label: Any, where: str) -> Example:
        words = (row.values or {}).get("tokens")
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise BadInput(f"{where}: no list of words under 'tokens'; tagging needs words. See [task] tokens.")
        tags = [None] * len(words) if label is None else label
        if not isinstance(tags, list) or len(tags) != len(words):
            found = f"{len(tags)} labels" if isinstance(tags, list) else repr(label)
            raise BadInput(f"{where}: {found} for {len(words)} words; each word needs one label (null: not known).")
        classes = tuple(None if tag == "_" else class_of(tag, where) for tag in tags)
        return Example(row.text, language, None, row.id, tokens=tuple(words), tags=classes)

    def figures(self, rows: Sequence[Example], answers: Sequence[Sequence[str]]) -> dict[str, float]:
        found = super().figures(rows, answers)
        gold = [[label or "O" for label in row.labels] for row in rows]
        if any(label.startswith(_SPAN_MARKS) for own in gold for label in own):
            found["span_f1"] = span_f1(gold, answers)
        return found


def span_f1(gold: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> float:
    """F1 of whole spans (CoNLL's measure), by seqeval."""
    import warnings

    from seqeval.metrics import f1_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that make no span, which count as none
        return float(f1_score([list(own) for own in gold], [list(own) for own in answers], zero_division=0))
