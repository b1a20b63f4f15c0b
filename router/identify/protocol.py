"""The protocols of language identifiers.

An identifier answers for a fixed list of languages (ISO 639-3 codes). Text without evidence (empty, digits, emoji) is
part of the protocol: all languages are then equally likely, and the text is not familiar.
Shape letters: `B` texts, `L` languages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class LanguageIdentifier(Protocol):
    """Text to probabilities of languages."""

    @property
    def languages(self) -> Sequence[str]:
        """The L codes it answers for, in the order of its columns."""
        ...

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform for a text without evidence."""
        ...


@runtime_checkable
class OpenSetIdentifier(LanguageIdentifier, Protocol):
    """An identifier that also notices text in none of its languages."""

    def identify(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The posterior, and the probability that each text is in one of `languages`, shape (B,); 0 for a text without
        evidence."""
        ...


class OpenlyIdentifies(OpenSetIdentifier, Protocol):
    """An identifier of a run's languages that identifies others too.

    Shape letters: `R` the run's languages, `O` others.
    """

    @property
    def other_languages(self) -> Sequence[str]:
        """The O codes outside the run that it can identify."""
        ...

    def identify_openly(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posterior among the run's languages (B, R), probability that the text is in one of these (B,), and posterior
        among `other_languages` (B, O)."""
        ...


class RunIdentifier(OpenlyIdentifies, Protocol):
    """The identifier of a run, which is kept in a folder of the run and changes with its languages."""

    def refuse_unknown(self, code: str) -> None:
        """Raise BadInput if `with_language` could not add a language, whatever its text."""
        ...

    def with_language(self, code: str, texts: Iterable[str], seed: int = 0) -> RunIdentifier:
        """A new identifier with one more language, which answers for the others as before."""
        ...

    def without_language(self, code: str) -> RunIdentifier:
        """A new identifier without one language."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write it; `router.identify.stored.load_identifier` reads it."""
        ...
