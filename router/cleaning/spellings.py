"""Texts in another script than a run's own text of their language, such as Latin Serbian where the run's is Cyrillic.

Shape letters: `B` texts, `L` languages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.cleaning.transliterate import transliterations
from router.identify.ngram import RARE, STEPS_PER_NAT, NgramIdentifier, NgramTable
from router.identify.ngram_hashes import hashed_ngrams
from router.letters import plain_letters

# The other spelling must explain a text this much better than any other language explains it as it stands.
_LEAD = 1.02
# Evidence a letter, over the usual one, from which on a text is in the language that it looks like.
_TYPICAL = 0.97
_LATIN, _CYRILLIC = "abcdefghijklmnopqrstuvwxyz", "абвгдежзиклмнопрстуфхцчш"


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
            if code in registered and _is_cyrillic(table)
        ]

    def evidence(
        self, texts: Sequence[str], evidence_BL: np.ndarray, lengths_B: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evidence with that of transliterated texts where it explains them best.

        Args:
            texts: B texts, cleaned.
            evidence_BL: Their evidence as they stand (`NgramIdentifier.evidence`).
            lengths_B: Their letters.

        Returns:
            Evidence, shape (B, L); whether it is that of the transliterated text, shape (B, L), bool.
        """
        respelt_BL = np.zeros(evidence_BL.shape, dtype=bool)
        # A language that is read as it stands explains its text about as well as it explained the text it is from.
        typical_B = (evidence_BL / self._usual_L).max(axis=1) / np.maximum(lengths_B, 1)
        strange_B = (lengths_B > 0) & (typical_B < _TYPICAL)
        latin = [row for row, text in enumerate(texts) if self._columns and strange_B[row] and _is_latin(text)]
        if not latin:
            return evidence_BL, respelt_BL
        changed_BL = evidence_BL.copy()
        for column, transliterate, table in self._columns:
            other_B1, other_lengths_B = table.evidence([transliterate(texts[row]) for row in latin])
            # Evidence a letter of the other spelling, over the letters of this one.
            scaled_B = other_B1[:, 0] * lengths_B[latin] / np.maximum(other_lengths_B, 1)
            rivals_BL = np.delete(evidence_BL[latin], column, axis=1)
            wins_B = scaled_B > _LEAD * rivals_BL.max(axis=1, initial=0.0)
            rows = np.array(latin)[wins_B]
            changed_BL[rows, column] = np.maximum(changed_BL[rows, column], scaled_B[wins_B])
            respelt_BL[rows, column] = True
        return changed_BL, respelt_BL


def _is_latin(text: str) -> bool:
    letters = plain_letters(text).replace(" ", "")
    return 2 * sum(character < "\u0250" for character in letters) > len(letters)


def _is_cyrillic(table: NgramTable) -> bool:
    """Whether a table's text is in Cyrillic letters: Latin ones are rare in it."""
    return _frequency(table, _CYRILLIC) > 0.3 and _frequency(table, _LATIN) < 0.2 * _frequency(table, _CYRILLIC)


def _frequency(table: NgramTable, letters: str) -> float:
    """The share that letters have of the text from which a table was counted."""
    keys = next(keys_G for order, keys_G, _ in hashed_ngrams(list(letters)) if order == 1)
    found = np.searchsorted(table.keys, keys).clip(max=len(table.keys) - 1)
    weights = np.where(table.keys[found] == keys, table.weights[found], 0)
    return float((np.expm1(weights / STEPS_PER_NAT) * RARE).sum())
