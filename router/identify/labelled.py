"""An identifier made of a function that gives labels with probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import UnknownLanguageError, match, to_code
from router.cleaning.clean import clean
from router.letters import plain_letters

Probabilities = Callable[[str], Iterable[tuple[str, float]]]
"""A function from a text to (label, probability) pairs, in any order; labels may be missing."""


class LabelledIdentifier:
    """An identifier made of a function that gives labels with probabilities.

    Guarantees: rows sum to 1 over the languages asked for; a text without letters, or whose labels are all others,
    gets the uniform posterior.

    Args:
        labels: Label of the function -> ISO 639-3 code; several labels may share a code (scripts), and add up.
        probabilities: See `Probabilities`.
        languages: The codes to answer for, if it knows them; None for all.
        name: Name in messages.

    Raises:
        BadInput: If it knows none of `languages`.
    """

    def __init__(
        self, labels: dict[str, str], probabilities: Probabilities, languages: Sequence[str] | None, name: str
    ):
        known = list(dict.fromkeys(labels.values()))
        columns: dict[str, int] = {}
        code_of = {}
        for language in languages if languages is not None else known:
            found = match(language, known)
            if found is not None:
                code_of[found] = columns.setdefault(to_code(language), len(columns))
        if not columns:
            raise BadInput(f"{name} knows none of {', '.join(languages or ())}. Choose another identifier.")
        self._languages = tuple(columns)
        self._column_of_label = {label: code_of[code] for label, code in labels.items() if code in code_of}
        self._probabilities = probabilities

    @property
    def languages(self) -> Sequence[str]:
        """The codes that it answers for, as the caller wrote them."""
        return self._languages

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform for a text without evidence."""
        posterior_BL = np.zeros((len(texts), len(self._languages)))
        for row, text in enumerate(texts):
            cleaned = clean(text)
            if plain_letters(cleaned):
                for label, probability in self._probabilities(cleaned):
                    column = self._column_of_label.get(label)
                    if column is not None:
                        posterior_BL[row, column] += probability
        sums_B1 = posterior_BL.sum(axis=1, keepdims=True)
        uniform = np.full_like(posterior_BL, 1.0 / posterior_BL.shape[1])
        return np.asarray(np.divide(posterior_BL, sums_B1, out=uniform, where=sums_B1 > 0))


def codes_of(labels: Iterable[str], strip: str = "") -> dict[str, str]:
    """Labels with their ISO 639-3 codes; labels that name no single language are left out."""
    codes = {}
    for label in labels:
        try:
            codes[label] = to_code(label.removeprefix(strip))
        except UnknownLanguageError:
            continue
    return codes


def encodable(text: str) -> str:
    """The text with lone surrogates, which no encoding has, as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
