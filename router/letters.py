"""Text as identifiers see it: letters only, lower case, one space between words."""

from __future__ import annotations

import unicodedata

import numpy as np

# Signs that many orthographies write inside words; between other letters they are letters (Quechua q'aqa).
_INNER_SIGNS = frozenset("'’‘ʼ`´ꞌ")


class _LetterTable(dict[int, int | str]):
    """A table for `str.translate`, filled on use: letters and their marks stay, other characters become a space."""

    def __missing__(self, codepoint: int) -> int | str:
        character = chr(codepoint)
        if character in _INNER_SIGNS:
            kept: int | str = "'"
        elif unicodedata.category(character)[0] in "LM":
            kept = codepoint
        else:
            kept = " "
        self[codepoint] = kept
        return kept


_LETTERS = _LetterTable()


def plain_letters(text: str) -> str:
    """Reduce text to the letters by which languages are identified.

    Lower case, NFC, letters with their marks and inner apostrophes; digits, punctuation, symbols, emoji and lone
    surrogates become spaces, and spaces are single. Empty if nothing is left.

    Example:
        >>> plain_letters("Q'aqa, 12 \\U0001f600 Añu!")
        "q'aqa añu"
    """
    letters = unicodedata.normalize("NFC", text).translate(_LETTERS).lower()
    return " ".join(word for word in (raw.strip("'") for raw in letters.split()) if word)


def utf8_bytes(text: str) -> bytes:
    """UTF-8 of any Python string; a lone surrogate, which has none, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")


def code_points(text: str) -> np.ndarray:
    """The text's code points, shape (number of characters,), uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
