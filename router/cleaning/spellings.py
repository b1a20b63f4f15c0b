"""Texts in another script than a run's own text of their language, such as Latin Serbian where the run's is Cyrillic.

A text that no language explains as well as it explains its own is read once more in the other letters. Both readings
stay in the answer, each by how usual it is for its language, so that what fits two languages alike gets doubt.

Shape letters: `B` texts, `L` languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.cleaning.transliterate import transliterations
from router.identify.ngram import RARE, STEPS_PER_NAT, NgramIdentifier, NgramTable
from router.letters import plain_letters
from router.ngram_hashes import hashed_ngrams

# Share of its usual evidence that a language finds in any text that is read in other letters.
_ANY_READING = 0.7
# Share of Cyrillic letters from which on a table was counted, in part at least, on Cyrillic text.
_SOME = 0.05
_CYRILLIC = "абвгдежзиклмнопрстуфхцчш"


@dataclass(frozen=True)
class Evidence:
    """What n-grams say of some texts.

    Attributes:
        evidence: In nats, shape (B, L).
        lengths: Letters of the texts as they stand, shape (B,).
        usual: Evidence a letter by which a language's counts as usual, shape (B, L): what it finds in its own text.
            Scripts differ in that. Evidence of another spelling is put in the measure of the language that explains the
            text best as it stands, so that the two compare by how usual they are.
        respelt: Whether it is evidence of the text in another spelling, shape (B, L), bool.
    """

    evidence: np.ndarray
    lengths: np.ndarray
    usual: np.ndarray
    respelt: np.ndarray


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

    def as_they_stand(self, evidence_BL: np.ndarray, lengths_B: np.ndarray) -> Evidence:
        """Evidence (`NgramIdentifier.evidence`) of texts in the spelling that they are in."""
        usual_BL = np.tile(self._usual_L, (len(lengths_B), 1))
        return Evidence(evidence_BL, lengths_B, usual_BL, np.zeros(evidence_BL.shape, dtype=bool))

    def read(self, texts: Sequence[str], evidence_BL: np.ndarray, lengths_B: np.ndarray) -> Evidence:
        """Evidence with that of transliterated texts, where that is more than a language finds in them as they stand.

        Args:
            texts: B texts, cleaned.
            evidence_BL: Their evidence as they stand.
            lengths_B: Their letters.
        """
        found = self.as_they_stand(evidence_BL.copy(), lengths_B)
        usual_B = self._usual_L[evidence_BL.argmax(axis=1)]
        # A language that is read as it stands explains its text about as well as it explained the text it is from.
        strange_B = (lengths_B > 0) & (evidence_BL.max(axis=1) < usual_B * lengths_B)
        latin = [row for row, text in enumerate(texts) if self._columns and strange_B[row] and _is_latin(text)]
        for column, transliterate, table in self._columns if latin else ():
            other_B1, other_lengths_B = table.evidence([transliterate(texts[row]) for row in latin])
            typical_B = other_B1[:, 0] / np.maximum(other_lengths_B, 1) / self._usual_L[column]
            rivalling_B = typical_B * usual_B[latin] * lengths_B[latin]
            better_B = (typical_B > _ANY_READING) & (rivalling_B > evidence_BL[latin, column])
            rows = np.array(latin)[better_B]
            found.evidence[rows, column] = rivalling_B[better_B]
            found.usual[rows, column] = usual_B[rows]
            found.respelt[rows, column] = True
        return found


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
