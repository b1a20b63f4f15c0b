"""Words in Latin letters, so that languages in different scripts can be compared roughly, by the library anyascii.

Each character has one romanisation whatever the language and the word (`ч` is `ch`, `č` is `c`), so spellings agree
only in part: of Serbian words in both scripts about two thirds become the same.
"""

from __future__ import annotations

from collections.abc import Collection


def romanised(words: Collection[str]) -> set[str]:
    """The words in lower-case ASCII; words that have no romanisation are left out.

    Example:
        >>> sorted(romanised(["понедељак", "kuća"]))
        ['kuca', 'ponedeljak']
    """
    from anyascii import anyascii

    table = {ord(char): anyascii(char).lower() for char in set("".join(words).lower()) if not char.isascii()}
    joined = "\n".join(word.replace("\n", " ") for word in words)
    return {word for word in joined.lower().translate(table).split("\n") if word}
