"""Dictionaries of the dictd kind (FreeDict): an index of headwords, and entries in a gzip file."""

from __future__ import annotations

import gzip
import re
import string
import zlib
from collections.abc import Sequence
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import read_bytes
from xelm.transferring.dictionaries.dictionary import Dictionary, is_short, tidy

_DIGITS = {
    letter: value for value, letter in enumerate(string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/")
}
_ABOUT = "00database"
_ASIDE = re.compile(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}")
_NUMBER = re.compile(r"^\s*(?:\d+|[a-z])[.)]\s+")
_NOT_TRANSLATIONS = ("see:", "synonym", "note:", "antonym", '"')
_ENTRY_BYTES = 1 << 30


class FreeDict(Dictionary):
    """Entries are parsed when a word is looked up: a large dictionary has hundreds of thousands."""

    def __init__(self, index: Path) -> None:
        """Open a dictionary.

        Args:
            index: `….index`; the entries are in `….dict.dz` or `….dict` beside it.

        Raises:
            BadInput: If a file is missing or damaged.
        """
        self._content = _entries_file(index)
        self._places: dict[str, list[tuple[int, int]]] = {}
        for number, line in enumerate(read_bytes(index).decode("utf-8", "replace").splitlines(), 1):
            fields = line.split("\t")
            try:
                word, begin, length = fields[0], _number(fields[1]), _number(fields[2])
            except (IndexError, KeyError):
                raise BadInput(f"{index}, line {number}: no line of a dictd index (word, place, length).") from None
            if begin + length > len(self._content):
                raise BadInput(f"{index}, line {number}: points beyond the end of the entries. Copy both files again.")
            if word.strip() and not word.startswith(_ABOUT):
                self._places.setdefault(tidy(word).lower(), []).append((begin, length))

    def find(self, phrase: str) -> Sequence[str]:
        found: list[str] = []
        for begin, length in self._places.get(phrase, ()):
            entry = self._content[begin : begin + length].decode("utf-8", "replace")
            found += [text for text in translations(entry) if text not in found]
        return found

    def __len__(self) -> int:
        return len(self._places)


def translations(entry: str) -> list[str]:
    """The translations in an entry, in order, without examples, notes, grammar and long explanations."""
    found = []
    for line in entry.split("\n")[1:]:
        body = line.strip()
        # Examples, notes and references are set in, or begin with their mark; numbered meanings are not.
        if not body or body.lower().startswith(_NOT_TRANSLATIONS) or (line[:1].isspace() and not _NUMBER.match(line)):
            continue
        # What follows a full stop is the next phrase of the dictionary, with its own translation.
        for text in re.split(r"[,;]", _ASIDE.sub("", _NUMBER.sub("", body)).split(". ")[0]):
            text = tidy(text).rstrip(".")
            if is_short(text):
                found.append(text)
    return found


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS[digit]
    return value


def _entries_file(index: Path) -> bytes:
    stem = index.with_suffix("")
    packed, plain = Path(f"{stem}.dict.dz"), Path(f"{stem}.dict")
    file = packed if packed.is_file() else plain
    if not file.is_file():
        raise BadInput(f"{index}: neither {packed.name} nor {plain.name} lies beside it.")
    raw = read_bytes(file, most_bytes=_ENTRY_BYTES)
    try:
        return gzip.decompress(raw) if file is packed else raw
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{file}: not a whole dictzip file ({error}). Copy it again.") from None
