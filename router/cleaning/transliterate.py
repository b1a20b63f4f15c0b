"""Latin spellings of languages that are also, or usually, written in Cyrillic, turned into Cyrillic.

Serbian is written in both scripts; a run whose Serbian text is Cyrillic would take Latin Serbian for Slovene. Romanised
Russian, Ukrainian and Bulgarian have no single spelling; the common ones are read. Add a language with `register`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Transliterate = Callable[[str], str]
"""From a text in Latin script to the same text in the script that a run's own text is usually in."""

_REGISTERED: dict[str, Transliterate] = {}


def register(language: str, pairs: Mapping[str, str]) -> None:
    """Register how a language is spelt in Latin script.

    Args:
        language: ISO 639-3 code.
        pairs: Lower-case Latin letters, or groups of them, and the letters that they stand for. Longer groups are read
            first; signs that are not named stay.
    """
    longest_first = sorted(pairs, key=lambda key: (-len(key), key))
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    _REGISTERED[language] = lambda text: pattern.sub(lambda match: pairs[match[0]], text.lower())


def transliterations() -> Mapping[str, Transliterate]:
    """Language -> its transliteration."""
    return _REGISTERED


_SHARED = dict(zip("abvgdezijklmnoprstuf", "абвгдезијклмнопрстуф", strict=True))
register(
    "srp",
    _SHARED
    | {
        "đ": "ђ",
        "dj": "ђ",
        "ž": "ж",
        "lj": "љ",
        "nj": "њ",
        "ć": "ћ",
        "h": "х",
        "c": "ц",
        "č": "ч",
        "dž": "џ",
        "š": "ш",
    },
)
_EAST = _SHARED | {
    "zh": "ж",
    "kh": "х",
    "h": "х",
    "ts": "ц",
    "c": "ц",
    "ch": "ч",
    "sh": "ш",
    "shch": "щ",
    "yu": "ю",
    "ju": "ю",
    "ya": "я",
    "ja": "я",
    "yo": "ё",
    "w": "в",
    "x": "х",
    "q": "к",
}
register(
    "rus", _EAST | {"j": "й", "y": "ы", "iy": "ий", "yy": "ый", "oy": "ой", "ay": "ай", "ey": "ей", "'": "ь", "’": "ь"}
)
register(
    "ukr",
    _EAST
    | {"h": "г", "g": "ґ", "y": "и", "i": "і", "yi": "ї", "ye": "є", "ii": "ії", "yo": "йо", "iy": "ій", "’": "'"},
)
register("bul", _EAST | {"j": "ж", "y": "й", "sht": "щ", "a": "а", "yo": "йо", "u": "у"})
