"""Identification beyond a run's own languages, so that a text in any of langid's can go to the nearest expert.

Shape letters: `B` texts, `R` the run's languages, `O` langid's others, `L` both, `C` classes of langid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clustering.languages.codes import match
from router.identify.combined import CombinedIdentifier
from router.identify.langid import LangidIdentifier
from router.letters import plain_letters
from router.routes.affinity import softmax


class OpenIdentifier:
    """A run's identifier, and langid's other languages for text that is in none of the run's.

    The probability that a text is familiar goes to the run's languages by the run's posterior, the rest to the others
    by langid's. With an `ExpertWeigher` for these languages the others reach experts by typology. It costs little more
    than the run's identifier, which has asked langid already.

    Args:
        identifier: The run's.
    """

    def __init__(self, identifier: CombinedIdentifier):
        self.run = identifier
        self._langid = None if identifier.use_langid else LangidIdentifier()
        classes = self._langid.languages if self._langid is not None else identifier.langid_languages
        own = identifier.languages
        self._columns_O = [column for column, code in enumerate(classes) if match(code, own) is None]
        self._languages = (*own, *(classes[column] for column in self._columns_O))

    @property
    def languages(self) -> Sequence[str]:
        """The run's codes, then langid's others."""
        return self._languages

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform without letters."""
        posterior_BL = self.joint(*self.identify(texts))
        posterior_BL[[not plain_letters(text) for text in texts]] = 1.0 / len(self._languages)
        return posterior_BL

    def identify(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The parts of the posterior.

        Returns:
            Posterior among the run's languages (B, R), probability that the text is in one of these (B,), and posterior
            among the others (B, O).
        """
        posterior_BR, familiarity_B, log_posterior_BC = self.run.identify_beside_langid(texts)
        if self._langid is not None:
            log_posterior_BC = np.log(self._langid.posterior(texts).clip(1e-300))
        # langid's softmax over some of its classes is that over all of them, renormalised.
        others_BO = log_posterior_BC[:, self._columns_O]
        return posterior_BR, familiarity_B, softmax(others_BO) if self._columns_O else others_BO

    def joint(self, posterior_BR: np.ndarray, familiarity_B: np.ndarray, others_BO: np.ndarray) -> np.ndarray:
        """The parts as one posterior, shape (B, L)."""
        familiarity_B1 = familiarity_B[:, None] if others_BO.shape[1] else np.ones((len(posterior_BR), 1))
        return np.concatenate([familiarity_B1 * posterior_BR, (1 - familiarity_B1) * others_BO], axis=1)
