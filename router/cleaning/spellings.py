"""Texts in another script than a run's own text of their language, such as Latin Serbian where the run's is Cyrillic.

A text that no language explains as well as it explains its own is read once more in the other letters. Both readings
stay in the answer, each by how usual it is for its language, so that what fits two languages alike gets doubt.

Shape letters: `B` texts, `L` languages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.cleaning.transliterate import transliterations
from router.identify.ngram import RARE, STEPS_PER_NAT, NgramIdentifier, NgramTable
from router.identify.ngram_hashes import hashed_ngrams
from router.letters import plain_letters

# Share of Cyrillic letters from which on a table was counted, in part at least, on Cyrillic text.
_SOME = 0.05
_CYRILLIC = "абвгдежзиклмнопрстуфхцчш"


class OtherSpellings:
    """Evidence for languages of a run whose text, as it stands, is in a script that the run has not read.

    Args:
        ngram: The run's tables.
    """

    def __init__(self, ngram: NgramIdentifier):
        self._usual_L = np.array([table.usual_evidence for table in ngram.tables.values()])
        registered = transliterations()
        self._columns = [
            (column, registered[code], NgramIdentifier({code: table}))
            for column, (code, table) in enumerate(ngram.tables.items())
            if code in registered and _knows_cyrillic(table)
        ]

    def evidence(
        self, texts: Sequence[str], evidence_BL: np.ndarray, lengths_B: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evidence with that of transliterated texts, where that is more than a language finds in them as they stand.

        Args:
            texts: B texts, cleaned.
            evidence_BL: Their evidence as they stand (`NgramIdentifier.evidence`).
            lengths_B: Their letters.

        Returns:
            Evidence, shape (B, L); whether it is that of the transliterated text, shape (B, L), bool.
        """
        respelt_BL = np.zeros(evidence_BL.shape, dtype=bool)
        best_B = evidence_BL.argmax(axis=1)
        usual_B = self._usual_L[best_B] * lengths_B
        # A language that is read as it stands explains its text about as well as it explained the text it is from.
        strange_B = (lengths_B > 0) & (evidence_BL.max(axis=1) < usual_B)
        latin = [row for row, text in enumerate(texts) if self._columns and strange_B[row] and _is_latin(text)]
        if not latin:
            return evidence_BL, respelt_BL
        changed_BL = evidence_BL.copy()
        for column, transliterate, table in self._columns:
            other_B1, other_lengths_B = table.evidence([transliterate(texts[row]) for row in latin])
            # Scripts differ in the evidence of a letter: what counts is how usual it is for the language.
            typical_B = other_B1[:, 0] / np.maximum(other_lengths_B, 1) / self._usual_L[column]
            rivalling_B = typical_B * usual_B[latin]
            better_B = rivalling_B > evidence_BL[latin, column]
            rows = np.array(latin)[better_B]
            changed_BL[rows, column] = rivalling_B[better_B]
            respelt_BL[rows, column] = True
        return changed_BL, respelt_BL


def _is_latin(text: str) -> bool:
    letters = plain_letters(text).replace(" ", "")
    return 2 * sum(character < "\u0250" for character in letters) > len(letters)


def _knows_cyrillic(table: NgramTable) -> bool:
    return _frequency(table, _CYRILLIC) > _SOME


def _frequency(table: NgramTable, letters: str) -> float:
    """The share that letters have of the text from which a table was counted."""
    keys = next(keys_G for order, keys_G, _ in hashed_ngrams(list(letters)) if order == 1)
    found = np.searchsorted(table.keys, keys).clip(max=len(table.keys) - 1)
    weights = np.where(table.keys[found] == keys, table.weights[found], 0)
    return float((np.expm1(weights / STEPS_PER_NAT) * RARE).sum())
