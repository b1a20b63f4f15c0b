"""Identification beyond a run's own languages, so that a text in another language can go to the nearest expert.

Shape letters: `B` texts, `R` the run's languages, `O` others, `L` both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.cleaning.clean import clean_letters
from router.identify.protocol import OpenlyIdentifies


class OpenIdentifier:
    """A run's identifier together with the other languages that it can identify.

    The probability that a text is familiar goes to the run's languages by the run's posterior, the rest to the others.
    With an `ExpertWeigher` for these languages the others reach experts by typology.

    Args:
        identifier: The run's identifier.
    """

    def __init__(self, identifier: OpenlyIdentifies):
        self.run = identifier
        self._languages = (*identifier.languages, *identifier.other_languages)

    @property
    def languages(self) -> Sequence[str]:
        """The run's codes, then those of the other languages."""
        return self._languages

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform without letters."""
        posterior_BL = self.joint(*self.identify(texts))
        posterior_BL[[not clean_letters(text) for text in texts]] = 1.0 / len(self._languages)
        return posterior_BL

    def identify(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The parts of the posterior, as in `RunIdentifier.identify_openly`."""
        return self.run.identify_openly(texts)

    def joint(self, posterior_BR: np.ndarray, familiarity_B: np.ndarray, others_BO: np.ndarray) -> np.ndarray:
        """The parts as one posterior, shape (B, L)."""
        familiarity_B1 = familiarity_B[:, None] if others_BO.shape[1] else np.ones((len(posterior_BR), 1))
        return np.concatenate([familiarity_B1 * posterior_BR, (1 - familiarity_B1) * others_BO], axis=1)
