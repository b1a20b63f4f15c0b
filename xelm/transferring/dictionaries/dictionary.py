"""`Dictionary`: words and phrases of one language with their translations, whatever the kind of file."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

_LONGEST_WORDS = 4
_SPACE = re.compile(r"\s+")


class Dictionary(ABC):
    """Translations by word or phrase, case ignored."""

    @abstractmethod
    def find(self, phrase: str) -> Sequence[str]:
        """Translations of a word or phrase in lower case, the first meaning first; empty if there is none."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of headwords."""


class Table(Dictionary):
    """A dictionary in memory."""

    def __init__(self, entries: Mapping[str, Sequence[str]]) -> None:
        self._entries = entries

    def find(self, phrase: str) -> Sequence[str]:
        return self._entries.get(phrase, ())

    def __len__(self) -> int:
        return len(self._entries)

    def words(self) -> Iterable[str]:
        """The headwords."""
        return self._entries.keys()

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[str, str]]) -> Table:
        """A table of (word, translation), several of one word in order."""
        entries: dict[str, list[str]] = {}
        for word, translation in pairs:
            key, value = tidy(word).lower(), tidy(translation)
            if key and value and value not in entries.setdefault(key, []):
                entries[key].append(value)
        return cls({key: values for key, values in entries.items() if values})


def tidy(text: str) -> str:
    """Without white space around, and single spaces within."""
    return _SPACE.sub(" ", text).strip()


def is_short(translation: str) -> bool:
    """Whether it is a word or a short phrase rather than an explanation."""
    return 0 < len(translation.split()) <= _LONGEST_WORDS
