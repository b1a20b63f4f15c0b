"""Identification beyond a run's own languages, so that a text in any of langid's can go to the nearest expert."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clustering.codes import match
from router.combined_identifier import CombinedIdentifier
from router.langid_identifier import LangidIdentifier
from router.text import plain_letters


class OpenIdentifier:
    """A run's identifier, and langid's other languages for text that is in none of the run's.

    The probability that a text is familiar goes to the run's languages by the run's posterior, the rest to the others
    by langid's. With an `ExpertWeigher` for these languages the others reach experts by typology.

    Args:
        identifier: The run's.
    """

    def __init__(self, identifier: CombinedIdentifier):
        self._identifier = identifier
        known = LangidIdentifier()
        others = [code for code in known.languages if match(code, identifier.languages) is None]
        self._others = LangidIdentifier(others)
        self._languages = (*identifier.languages, *self._others.languages)

    @property
    def languages(self) -> Sequence[str]:
        """The run's codes, then langid's others."""
        return self._languages

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform without letters."""
        posterior_BR, familiarity_B = self._identifier.identify(texts)
        others_BO = self._others.posterior(texts)
        familiarity_B1 = familiarity_B[:, None]
        posterior_BL = np.concatenate([familiarity_B1 * posterior_BR, (1 - familiarity_B1) * others_BO], axis=1)
        posterior_BL[[not plain_letters(text) for text in texts]] = 1.0 / len(self._languages)
        return posterior_BL
