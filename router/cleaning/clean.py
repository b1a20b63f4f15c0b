"""Remove from a text what is in no language: markup, addresses, code, symbols; all identifiers read the rest.

Ordinary text is returned as it is, to the character. Cleaning a cleaned text changes nothing.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

from router.cleaning.code import looks_like_code, words_in_code
from router.letters import plain_letters

# Longer texts are not kept: few are asked about twice.
_LONGEST_KEPT = 2_000
# Letters of these ranges decompose under NFKC into what their orthographies never write apart (Thai, Lao, Tibetan).
_UNCHANGED = ((0x0E00, 0x0EFF), (0x0F00, 0x0FFF))
_INVISIBLE = frozenset("\u00ad\ufeff\u2060\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MIN_REPEATS = 3

_ADDRESS = r"[\w\-.~:/?#\[\]@!$&'()*+,;=%]"
_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<!--.*?(?:-->|$)", re.DOTALL), " "),
    (re.compile(r"<(script|style|code|pre)\b[^>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE), " "),
    (re.compile(r"<\?xml\b[^<>]*>"), " "),
    (re.compile(r"</?[A-Za-z!][^<>]*>"), " "),
    # Tags that the text was cut in, at its beginning and at its end.
    (re.compile(r"""^[^<>]*["']\s*/?>"""), " "),
    (re.compile(r"""<[/!]?[A-Za-z][\w\-]*(?:\s[^<>]*)?$"""), " "),
    (re.compile(r"\{\{[^{}]*\}\}|\{\|.*?\|\}", re.DOTALL), " "),  # templates of wikis
    (re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]"), r"\1"),
    (re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)"), r"\1"),  # links of Markdown keep their words
    (re.compile(r"\[/?[a-z]{1,8}(?:=[^\[\]]*)?\]", re.IGNORECASE), " "),  # tags of forums
    (re.compile(r"\\[A-Za-z]+\*?"), " "),  # commands of LaTeX
)
_ADDRESSES: tuple[re.Pattern[str], ...] = (
    re.compile(rf"(?:https?|ftp)://{_ADDRESS}*", re.IGNORECASE | re.ASCII),
    re.compile(rf"\bwww\.{_ADDRESS}+", re.IGNORECASE | re.ASCII),
    re.compile(r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+", re.ASCII),
    re.compile(rf"\b[a-z0-9\-]+(?:\.[a-z0-9\-]+)*\.[a-z]{{2,6}}/{_ADDRESS}*", re.IGNORECASE | re.ASCII),
    re.compile(r"(?<![\w.])(?:[a-z0-9\-]+\.)+(?:com|org|net|edu|gov|info|io|eu|[a-z]{2})\b(?!\.\w)", re.ASCII),
    re.compile(r"(?<![\w/])(?:~|\.{0,2})/(?:[\w.\-]+/)+[\w.\-]*", re.ASCII),  # paths of files
)
_NAMES = re.compile(r"(?<!\w)[@#]\w+|(?<!\w):[a-z0-9_+\-]+:(?!\w)|(?<!\w)[:;=xX8][-']?[DPpOo](?!\w)")
_REPEATED = re.compile(rf"(\w)\1{{{_MIN_REPEATS - 1},}}")
_SUSPECT = re.compile(r"[<>@#{}\[\]\\`=/;]|&\w|&#|\w\.\w|:\w+:|\(\)|\w\([\"']|(\w)\1\1|[:;=xX8][-']?[DPpOo](?!\w)")


class _Characters(dict[int, int | str | None]):
    """A table for `str.translate`, filled on use: symbols become spaces, compatibility forms the letters they mean."""

    def __missing__(self, codepoint: int) -> int | str | None:
        character = chr(codepoint)
        kept: int | str | None = codepoint
        if character in _INVISIBLE:
            kept = None
        elif unicodedata.category(character) in ("So", "Co", "Cn", "Cs", "Sk") and not character.isascii():
            plain = unicodedata.normalize("NFKC", character)
            kept = plain if plain != character and plain.strip() and plain.isalpha() else " "
        elif unicodedata.decomposition(character).startswith("<") and not _stays(codepoint):
            kept = unicodedata.normalize("NFKC", character)
        self[codepoint] = kept
        return kept


def _stays(codepoint: int) -> bool:
    return any(first <= codepoint <= last for first, last in _UNCHANGED)


_CHARACTERS = _Characters()


def clean(text: str) -> str:
    """The part of a text that is in a language.

    Tags, entities, templates, addresses, paths, mentions, hashtags, shortcodes and code go; emoji and other symbols
    become spaces; compatibility forms (wide, mathematical, joined letters) the letters that they mean; letters repeated
    three times or more come twice; text in capitals becomes lower case. Hashtags and mentions are kept where there is
    nothing else.

    Args:
        text: Any string.

    Returns:
        The text itself if none of this occurs in it; without letters if nothing of it is in a language.

    Example:
        >>> clean('<p class="x">Guten Morgen 😀 https://example.org/a?b=c</p>').split()
        ['Guten', 'Morgen']
    """
    return _kept(text) if len(text) <= _LONGEST_KEPT else _clean(text)


def clean_letters(text: str) -> str:
    """`plain_letters` of the cleaned text."""
    return plain_letters(clean(text))


@lru_cache(maxsize=8192)
def _kept(text: str) -> str:
    return _clean(text)


def _clean(text: str) -> str:
    cleaned = text.translate(_CHARACTERS)
    if _SUSPECT.search(cleaned):
        cleaned = _without_noise(cleaned)
    return _lower_capitals(cleaned)


def _without_noise(text: str) -> str:
    if "&" in text:
        text = html.unescape(text).translate(_CHARACTERS)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    for pattern in _ADDRESSES:
        text = pattern.sub(" ", text)
    without_names = _NAMES.sub(" ", text)
    if plain_letters(without_names):
        text = without_names
    if looks_like_code(text):
        text = words_in_code(text)
    return _REPEATED.sub(r"\1\1", text)


def _lower_capitals(text: str) -> str:
    """Text in capitals in lower case, since identifiers learn from ordinary text."""
    cased = [c for c in text if c.isupper() or c.islower()]
    num_capitals = sum(c.isupper() for c in cased)
    if len(cased) < 2 or num_capitals <= 0.7 * len(cased):
        return text
    # Python's lower case of a dotted capital I keeps the dot as a sign of its own.
    return text.replace("İ", "i").lower()
