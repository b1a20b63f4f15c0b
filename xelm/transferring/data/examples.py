"""One row of a task: a text with its label, or words with a label each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

Label = str | None
"""A class; None: not known, and not learnt from."""


@dataclass(frozen=True)
class Example:
    """A row of a task in one language.

    Attributes:
        text: The text (of a pair: the first one).
        language: ISO 639-3.
        label: Its class. For words see `tags`.
        id: Name of the row; rows of one id are translations of each other where the task says so.
        second: The other text of a pair.
        tokens: Its words, for tasks that label words.
        tags: Their labels; None for a word whose label is not known.
        made_by: The technique that made it; empty for a row of the data.
    """

    text: str
    language: str
    label: Label = None
    id: Any = None
    second: str | None = None
    tokens: tuple[str, ...] | None = None
    tags: tuple[Label, ...] | None = None
    made_by: str = ""

    @cached_property
    def content(self) -> str:
        """A fingerprint of what a model reads of it."""
        read = json.dumps([self.text, self.second, self.tokens], ensure_ascii=False)
        return hashlib.sha256(read.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def num_units(self) -> int:
        """Number of things to be labelled: 1, or its words."""
        return 1 if self.tokens is None else len(self.tokens)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The label of each of them."""
        return (self.label,) if self.tags is None else self.tags

    @property
    def is_labelled(self) -> bool:
        """Whether any label is known."""
        return any(label is not None for label in self.labels)

    def unlabelled(self) -> Example:
        """The same without its labels."""
        return replace(self, label=None, tags=None if self.tags is None else (None,) * len(self.tags))
