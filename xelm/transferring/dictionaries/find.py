"""Find the dictionary of two languages in a folder by the names of its files."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from clustering.errors import BadInput
from clustering.languages.codes import UnknownLanguageError, same_language_key, to_code
from xelm.transferring.dictionaries.dictionary import Dictionary, Table
from xelm.transferring.dictionaries.freedict import FreeDict
from xelm.transferring.dictionaries.tables import inverted, read_muse, read_table

_CODE = re.compile(r"[A-Za-z]{2,3}")
KINDS = (".index", ".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")


def find_dictionary(path: str | Path, source: str, target: str) -> Path | None:
    """The file of a dictionary from one language to another.

    Args:
        path: A file, which is taken as it is, or a folder of files such as `eng-deu.csv` or `freedict-eng-deu.index`.
        source: ISO 639-3.
        target: ISO 639-3.

    Returns:
        The file; None if the folder has none for these languages. A table of the other direction serves too, a FreeDict
        file does not: its entries are made for one direction.

    Raises:
        BadInput: If there is no such file or folder, or the folder holds no dictionary at all.
    """
    place = Path(path).expanduser()
    if place.is_file():
        return place
    if not place.is_dir():
        raise BadInput(f"{path}: no such dictionary, neither a file nor a folder of files such as eng-deu.csv.")
    pairs = {pair: file for file in sorted(place.iterdir()) if (pair := pair_of(file))}
    if not pairs:
        raise BadInput(
            f"{path}: no dictionary in it. Files are called by both languages: eng-deu.csv, …-eng-deu.index."
        )
    wanted = (same_language_key(source), same_language_key(target))
    turned = pairs.get((wanted[1], wanted[0]))
    return pairs.get(wanted) or (turned if turned and turned.suffix != ".index" else None)


def pair_of(file: Path) -> tuple[str, str] | None:
    """The languages that a file's name says, from and to; None if it is no dictionary."""
    ending = next(
        (ending for ending in sorted(KINDS, key=len, reverse=True) if file.name.lower().endswith(ending)), None
    )
    if ending is None or file.name.startswith("."):
        return None
    parts = re.split(r"[-_.]", file.name[: -len(ending)])
    for first, second in reversed(list(pairwise(parts))):
        if not (_CODE.fullmatch(first) and _CODE.fullmatch(second)):
            continue
        try:
            return same_language_key(to_code(first)), same_language_key(to_code(second))
        except UnknownLanguageError:
            continue
    return None


@lru_cache(maxsize=32)
def open_dictionary(file: Path, source: str, target: str) -> Dictionary:
    """A dictionary from `source` to `target`; a file of the other direction is turned round.

    Raises:
        BadInput: If the file is damaged, or a FreeDict file leads the other way.
    """
    pair, wanted = pair_of(file), (same_language_key(source), same_language_key(target))
    is_turned = pair is not None and pair == (wanted[1], wanted[0])
    if file.suffix == ".index":
        if is_turned:
            raise BadInput(f"{file}: translates from {target} to {source}; get freedict-{source}-{target}.")
        return FreeDict(file)
    table: Table = read_muse(file) if ".txt" in file.suffixes else read_table(file)
    return inverted(table) if is_turned else table
