"""What a language identifier is, and how to get one by name.

An identifier answers for a fixed list of languages (ISO 639-3 codes). What it does with text that says nothing (empty,
digits, emoji) is part of the protocol: all languages are equally likely, and nothing is familiar.
Shape letters: `B` texts, `L` languages.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from clustering.errors import BadInput


@runtime_checkable
class LanguageIdentifier(Protocol):
    """Text to probabilities of languages."""

    @property
    def languages(self) -> Sequence[str]:
        """The L codes it answers for, in the order of its columns."""
        ...

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform where a text says nothing."""
        ...


@runtime_checkable
class OpenSetIdentifier(LanguageIdentifier, Protocol):
    """An identifier that also notices text in none of its languages."""

    def familiarity(self, texts: Sequence[str]) -> np.ndarray:
        """Probability that each text is in one of `languages`, shape (B,); 0 where a text says nothing."""
        ...


IDENTIFIERS = ("langid", "py3langid", "lingua", "fasttext")


def make_identifier(name: str, languages: Sequence[str] | None = None, **options: Any) -> LanguageIdentifier:
    """Build a ready-made identifier.

    Identifiers trained on a run's own text are made by `NgramIdentifier.train` and `CombinedIdentifier.train`.

    Args:
        name: One of `IDENTIFIERS`. All but `langid` need their package; the error says how to install it.
        languages: Answer only for those of these codes that it knows; None for all that it knows.
        **options: Passed on, such as `path=` for `fasttext`.

    Raises:
        BadInput: If the name is unknown, a package is missing, or none of `languages` is known to it.
    """
    if name == "langid":
        from router.identify.langid import LangidIdentifier

        return LangidIdentifier(languages, **options)
    if name in IDENTIFIERS:
        from router.identify.external import make

        return make(name, languages, **options)
    near = difflib.get_close_matches(name, IDENTIFIERS, n=2)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise BadInput(f"Unknown identifier {name!r}. {hint}Choose one of {', '.join(IDENTIFIERS)}.")
