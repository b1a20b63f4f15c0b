"""What langid says of a run's languages, some of which it may know by another name alone.

langid has one class for a language, learnt from one spelling: of Serbian it knows the Cyrillic one, and takes the Latin
one for Croatian or Bosnian. A run whose text of a language langid does not recognise keeps what langid takes it for.
Shape letters: `B` texts, `L` languages of the run, `C` classes of langid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clustering.languages.codes import match
from router.identify.langid import LangidIdentifier

# A language of the run that langid recognises in fewer of its own spans is known to langid by other names.
LEAST_RECOGNISED = 0.2
# Classes that are said much less often than the most frequent one are left out.
_LEAST_SAID = 0.05

OtherNames = Mapping[str, Mapping[str, float]]
"""Language of the run -> classes that langid takes it for -> how readily, 1 for the most frequent one."""


class LangidOpinion:
    """langid's log-probabilities in terms of a run's languages.

    Args:
        languages: The run's L codes.
        other_names: Of languages that langid does not recognise in the run's own text.
    """

    def __init__(self, languages: Sequence[str], other_names: OtherNames):
        self.langid = LangidIdentifier()
        self._classes = list(self.langid.languages)
        found = [match(code, self._classes) for code in languages]
        self._columns_L = np.array([self._classes.index(name) if name is not None else -1 for name in found])
        self._renamed_L = np.array([code in other_names for code in languages])
        self.known_L: np.ndarray = (self._columns_L >= 0) | self._renamed_L
        """Which languages it has an opinion of, shape (L,), bool."""
        self._readily_LC = np.zeros((len(languages), len(self._classes)))
        for row, code in enumerate(languages):
            for name, share in other_names.get(code, {}).items():
                self._readily_LC[row, self._classes.index(name)] = share

    def log_posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Log-probabilities of all its classes, shape (B, C)."""
        log_posterior_BC: np.ndarray = np.log(self.langid.posterior(texts).clip(1e-300))
        return log_posterior_BC

    def of_run(self, langid_BC: np.ndarray, unknown: float) -> np.ndarray:
        """Log-probabilities of the run's languages, shape (B, L), `unknown` for those it does not know.

        A language that it knows by other names gets what it says of these, each as readily as it says so of the
        language's own text, so that it does not decide between the language and those whose names they are.
        """
        opinion_BL = np.where(self._columns_L >= 0, langid_BC[:, self._columns_L], unknown)
        if self._renamed_L.any():
            by_other_names_BL = np.log((np.exp(langid_BC) @ self._readily_LC.T).clip(1e-300))
            opinion_BL = np.where(self._renamed_L, by_other_names_BL, opinion_BL)
        return opinion_BL

    def share_of_run(self, langid_BC: np.ndarray) -> np.ndarray:
        """Probability of the run's languages together, shape (B,)."""
        ours = np.unique(self._columns_L[self._columns_L >= 0])
        share_B = np.exp(langid_BC[:, ours]).sum(axis=1)
        if self._renamed_L.any():
            readily_C = self._readily_LC.max(axis=0)
            readily_C[ours] = 0.0
            share_B = share_B + np.exp(langid_BC) @ readily_C
        return np.asarray(share_B)

    def other_names(self, code: str, spans: Sequence[str]) -> dict[str, float]:
        """What it takes a language's own text for, if it does not recognise it; empty if it does or has no such class.

        Args:
            code: A language.
            spans: Held-out text of it.
        """
        own = match(code, self._classes)
        posterior_BC = self.langid.posterior(spans)
        if own is None or (posterior_BC.argmax(axis=1) == self._classes.index(own)).mean() >= LEAST_RECOGNISED:
            return {}
        said_C = posterior_BC.mean(axis=0)
        readily_C = said_C / said_C.max()
        names = zip(self._classes, readily_C.tolist(), strict=True)
        return {name: round(share, 3) for name, share in names if share > _LEAST_SAID}
