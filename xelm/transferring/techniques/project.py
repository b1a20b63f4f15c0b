"""Annotation projection: labels of words go over to the words of a translation (Yarowsky et al. 2001)."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from clustering.corpora.find import find_sources
from clustering.corpora.rows import Reading
from clustering.languages.codes import match
from xelm.recipe.parsing import check
from xelm.transferring.aligners import Links, align_by_command, align_eflomal
from xelm.transferring.cells import Cell
from xelm.transferring.data.examples import Example, Label
from xelm.transferring.techniques.technique import Lab, Technique, technique

TASK = "task"
"""The pairs are training rows of the task itself, with one id in both languages."""
_PUNCTUATION = "PUNCT"
_WORDS = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")
Pair = tuple[Example, Example]
"""A sentence of the source with its labels, and its translation without."""


@technique
@dataclass(frozen=True, kw_only=True)
class Project(Technique):
    """Translations of the sources' sentences teach, with the labels that word alignment carries over.

    A word of the target that no word of the source is aligned to has no label and is not learnt from.
    """

    kind: str = "project"
    parallel: str = TASK
    """`task`: training rows of the task with the same id in both languages; or a folder of `<target>.jsonl` whose rows
    hold the sentence as `text` and its translation under the code of the source (`eng`); the plain head labels it."""
    aligner: Literal["eflomal"] = "eflomal"
    """The word aligner; eflomal needs `pip install xelm[align]`."""
    command: str | None = None
    """Instead of it: a shell command that reads lines `words ||| words` and writes lines `0-0 1-2`."""
    align: Callable[..., Any] | None = None
    """Instead of it, in Python: a function from words of both sides to sets of links."""
    combine: Literal["intersection", "union"] = "intersection"
    """Of both directions of eflomal: links that both have, or that either has. Links of one word to several labels are
    dropped."""
    keep: bool = True
    """Whether the sources' rows teach too."""

    def __post_init__(self) -> None:
        check(
            self.command is None or self.align is None, "[[augment]] project: give a command or a function, not both."
        )

    def cannot(self, cell: Cell, lab: Lab) -> str | None:
        if lab.rowset.task.unit != "word":
            return "is for labels of words"
        if self.parallel == TASK and not any(self._of_task(code, cell.target, lab) for code in cell.languages):
            return "no training rows of one id in both languages"
        return None

    def training(self, rows: list[Example], cell: Cell, lab: Lab) -> list[Example]:
        made: list[Example] = []
        for code in cell.languages:
            pairs = self._pairs(code, rows, cell, lab)
            if pairs:
                links = self._links(code, cell.target, pairs, lab)
                made += [self._projected(pair, own) for pair, own in zip(pairs, links, strict=True)]
        self._report(made, cell, lab)
        kept = rows if self.keep else [row for row in rows if row.language == cell.target]
        return [*kept, *(row for row in made if row.is_labelled)]

    def _pairs(self, code: str, rows: Sequence[Example], cell: Cell, lab: Lab) -> list[Pair]:
        if self.parallel == TASK:
            return self._of_task(code, cell.target, lab)
        pairs = self._of_folder(code, cell.target, lab)
        answers, _ = lab.teach(cell, rows, [source for source, _ in pairs])
        return [(replace(source, tags=tags), target) for (source, target), tags in zip(pairs, answers, strict=True)]

    def _of_task(self, code: str, target: str, lab: Lab) -> list[Pair]:
        there = {row.id: row for row in lab.rowset.unlabelled(target) if row.id is not None}
        return [(row, there[row.id]) for row in lab.rowset.train(code) if row.id in there]

    def _of_folder(self, code: str, target: str, lab: Lab) -> list[Pair]:
        """Pairs of a folder, without sentences that a test holds."""
        tested, found, dropped = lab.rowset.test_texts, [], 0
        for source in find_sources(self.parallel):
            if match(target, [source.code]) is None:
                continue
            for row in source.rows(Reading(whole=True)):
                other = (row.values or {}).get(code)
                if not isinstance(other, str):
                    continue
                if row.text in tested or other in tested:
                    dropped += 1
                    continue
                found.append((_cut(other, code, self.label), _cut(row.text, target, self.label)))
        if dropped:
            lab.note(f"{self.label}, {target}: {dropped} pairs are not aligned because a test holds the sentence")
        return found

    def _links(self, code: str, target: str, pairs: Sequence[Pair], lab: Lab) -> list[Links]:
        sources = [pair[0].tokens or () for pair in pairs]
        targets = [pair[1].tokens or () for pair in pairs]

        def make() -> list[list[list[int]]]:
            if self.align is not None:
                found: Sequence[Links] = self.align(sources, targets)
            elif self.command is not None:
                found = align_by_command(self.command, sources, targets)
            else:
                found = align_eflomal(sources, targets, self.combine)
            return [sorted([first, second] for first, second in links) for links in found]

        what = json.dumps([self.to_dict(), sources, targets], ensure_ascii=False)
        key = hashlib.sha256(what.encode()).hexdigest()[:16]
        kept = lab.kept(f"links-{code}-{target}-{key}", make)
        return [{(first, second) for first, second in links} for links in kept]

    def _projected(self, pair: Pair, links: Links) -> Example:
        source, target = pair
        labels: list[set[str]] = [set() for _ in range(target.num_units)]
        for first, second in links:
            if (label := source.labels[first]) is not None:
                labels[second].add(label)
        tags: tuple[Label, ...] = tuple(next(iter(own)) if len(own) == 1 else None for own in labels)
        return replace(target, tags=tags, made_by=self.label)

    def _report(self, made: Sequence[Example], cell: Cell, lab: Lab) -> None:
        """How many words got a label, and how many of these are right where the target's labels are known."""
        words = sum(row.num_units for row in made)
        labelled = sum(label is not None for row in made for label in row.labels)
        if not words:
            return
        text = (
            f"{self.label}, {'+'.join(cell.languages)} to {cell.target}: {labelled / words:.3f} of the words labelled"
        )
        gold = {row.id: row for row in lab.rowset.train(cell.target)} if self.parallel == TASK else {}
        hits: Counter[str] = Counter()
        for row in made:
            for label, wanted in zip(row.labels, gold[row.id].labels if row.id in gold else (), strict=False):
                if label is not None and wanted is not None:
                    hits.update(["all", *(["right"] if label == wanted else [])])
                    if wanted != _PUNCTUATION:
                        hits.update(["words", *(["right words"] if label == wanted else [])])
        if hits["words"]:
            right, words_right = hits["right"] / hits["all"], hits["right words"] / hits["words"]
            text += f", {right:.3f} of them rightly ({words_right:.3f} without PUNCT)"
        lab.note(text)


def _cut(text: str, code: str, made_by: str) -> Example:
    """A sentence cut into words and marks."""
    words = tuple(_WORDS.findall(text))
    return Example(text, code, tokens=words, tags=(None,) * len(words), made_by=made_by)
