"""Text and numbers in the form that the page shows."""

from __future__ import annotations

import re
import unicodedata

_SENTENCE_END = re.compile(r"[.!?…।۔؟。！？｡]+[\"'»”’)」』]*(?=\s|$)|[。！？｡]+[」』”’)]*")
_SHORTEST_SENTENCE_BYTES = 16
_CUT_BACK = 0.6
REPLACEMENT = "\ufffd"


def clean(text: str) -> str:
    """Text that is safe in a page: runs of white space become a space, characters that cannot be shown become �.

    Models write control characters and halves of characters; HTML has no way to hold some of them.
    """
    spaced = " ".join(text.split())
    return "".join(REPLACEMENT if unicodedata.category(char) in ("Cc", "Cs") else char for char in spaced)


def first_sentence(text: str, longest: int) -> str:
    """The first sentence of a text (the first few, where they are very short), cut to a length.

    Args:
        text: Any script.
        longest: Largest number of characters.
    """
    text = clean(text)
    for end in _SENTENCE_END.finditer(text):
        if len(text[: end.end()].encode()) >= _SHORTEST_SENTENCE_BYTES:
            text = text[: end.end()]
            break
    return cut(text, longest)


def cut(text: str, longest: int) -> str:
    """At most so many characters, ending with a whole word if the script has spaces."""
    if len(text) <= longest:
        return text
    head = text[:longest]
    # Never cut between a letter and the marks that belong to it.
    while head and unicodedata.combining(text[len(head)]):
        head = head[:-1]
    space = head.rfind(" ")
    return head[:space] if space >= _CUT_BACK * longest else head


def language_tag(code: str) -> str:
    """BCP 47 tag of an ISO 639-3 code, as HTML's `lang` needs it to choose the right font (`jpn` is `ja`)."""
    from langcodes import standardize_tag
    from langcodes.tag_parser import LanguageTagError

    try:
        return standardize_tag(code, macro=True)
    except LanguageTagError:
        return "und"


def count(number: float) -> str:
    """`1,234,567`."""
    return f"{number:,.0f}"


def compact(number: float) -> str:
    """`1.2 M`, with at most three digits and no unit below a thousand."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * size:
            value = number / size
            decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            text = f"{value:.{decimals}f}"
            return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"
    return f"{number:.0f}"


def signed(number: float, decimals: int = 1) -> str:
    """`+1.6` or `−0.4`, with a real minus sign; a rounded zero has no sign."""
    text = f"{number:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"


def plural(number: int, noun: str) -> str:
    """`1 expert`, `2 experts`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
