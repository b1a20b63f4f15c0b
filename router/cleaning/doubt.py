"""What a text looks like that is in no language in particular: menus, single words, names, keys struck at random.

The letters of such texts resemble some language, and an identifier that must choose is often sure of it. The certainty
here comes from the form of the text alone; it lowers the confidence of a route and changes no weight.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache
from importlib.resources import files

from router.cleaning.clean import clean
from router.letters import plain_letters

MENU, SEVERAL_SCRIPTS, SINGLE_WORD, NAME, NO_WORDS = 0.2, 0.3, 0.49, 0.49, 0.3
"""The certainty that each form leaves."""
_LONGEST_WORD, _LONGEST_NAME, _LONGEST = 14, 30, 100
_MENU_SHARE, _SCRIPT_SHARE = 0.6, 0.1
# Scripts that write no spaces: one run of letters may be a sentence.
_NO_SPACES = frozenset({"Hani", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Jpan"})
# Scripts that one language writes (or nearly so): a word is enough.
_OF_ONE_LANGUAGE = frozenset(
    {"Grek", "Hang", "Armn", "Geor", "Thai", "Laoo", "Khmr", "Guru", "Gujr", "Orya", "Taml"}
) | {
    "Telu",
    "Knda",
    "Mlym",
    "Sinh",
    "Tibt",
}
_VOWELS = re.compile(r"[aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüýāēīōūėęąıœăîâơưạ-ỹ]|[аеёиоуыэюяіїєўѝ]")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю")
_KEYS = (*_ROWS, *(row[::-1] for row in _ROWS))
_PART_OF_NAME = re.compile(r"^(?:d[eauio]s?|del|della|van|von|der|den|la|le|el|al|bin|ibn|of|y|e|i)$")


def certainty(text: str) -> float:
    """How far the form of a text allows to be sure of its language, 0 to 1; 1 for ordinary text.

    Args:
        text: Any text; noise is cleaned away first.

    Returns:
        Less than one half for a list of names of languages, text in several scripts, a single word of a script that
        many languages write, two or three names, or letters without words.
    """
    cleaned = clean(text)
    if len(cleaned) > _LONGEST:
        cleaned = cleaned[:_LONGEST]
    words = plain_letters(cleaned).split()
    if not words:
        return 1.0
    scripts = _scripts(words)
    checks = (
        (len(words) >= 2 and _menu_share(words) >= _MENU_SHARE, MENU),
        (len(scripts) >= 3, SEVERAL_SCRIPTS),
        (_is_single_word(cleaned, words, scripts), SINGLE_WORD),
        (len(words) >= 2 and max(map(len, words)) <= 2 and scripts <= {"Latn"}, NO_WORDS),
        (_looks_like_names(cleaned, words), NAME),
        (_is_struck_at_random(words), NO_WORDS),
    )
    return min((value for holds, value in checks if holds), default=1.0)


def _menu_share(words: list[str]) -> float:
    names = _language_names()
    return sum(word in names for word in words) / len(words)


@cache
def _language_names() -> frozenset[str]:
    """Names of languages in themselves and in English, German, French and Spanish (Unicode's CLDR), lower case."""
    return frozenset((files(__package__) / "language_names.txt").read_text(encoding="utf-8").split())


def _scripts(words: list[str]) -> set[str]:
    """Scripts with at least a tenth of the letters; those of Japanese and Korean count as one."""
    counts = Counter(map(_script, "".join(words)))
    counts.pop("", None)
    total = sum(counts.values())
    found = {script for script, number in counts.items() if number > _SCRIPT_SHARE * total}
    if found & {"Hira", "Kana"}:
        found = found - {"Hira", "Kana", "Hani"} | {"Jpan"}
    return found - {"Hani"} if "Hang" in found else found


@lru_cache(maxsize=65536)
def _script(character: str) -> str:
    from fontTools.unicodedata import script

    found = str(script(character))
    return "" if found in ("Zyyy", "Zinh", "Zzzz") else found


def _is_single_word(cleaned: str, words: list[str], scripts: set[str]) -> bool:
    """One word as it is spelt (`Coca-Cola`), of a script that many languages write."""
    num_letters = sum(map(len, words))
    if len(cleaned.split()) > 1 or num_letters > _LONGEST_WORD or scripts & _OF_ONE_LANGUAGE:
        return False
    return not scripts & _NO_SPACES or num_letters <= 2


def _looks_like_names(cleaned: str, words: list[str]) -> bool:
    """Two to four words that all begin with a capital, but for what joins names; no sentence ends."""
    spelt = [word.strip("\"'«»()[]-–|/,:") for word in cleaned.split()]
    spelt = [word for word in spelt if word]
    if not 2 <= len(spelt) <= 4 or sum(map(len, words)) > _LONGEST_NAME or re.search(r"[.!?…]\s*$", cleaned):
        return False
    named = [word for word in spelt if not _PART_OF_NAME.match(word)]
    return len(named) >= 2 and all(word[0].isupper() and word[1:].islower() for word in named)


def _is_struck_at_random(words: list[str]) -> bool:
    """Most words of three letters or more have no vowel, are one letter, or neighbouring keys, in Latin or Cyrillic."""
    long = [word for word in words if len(word) >= 3 and _script(word[0]) in ("Latn", "Cyrl")]
    strange = [
        word for word in long if not _VOWELS.search(word) or len(set(word)) == 1 or any(word in row for row in _KEYS)
    ]
    return len(long) >= 1 and 2 * len(long) >= len(words) and 2 * len(strange) >= len(long)
