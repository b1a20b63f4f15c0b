"""Dictionaries in tables: .csv and .tsv with two columns, and MUSE files with a word and its translation on a line."""

from __future__ import annotations

import csv
from pathlib import Path

from clustering.corpora.formats import decoded, raw_lines
from clustering.errors import BadInput
from xelm.transferring.dictionaries.dictionary import Table


def read_table(file: Path) -> Table:
    """A table: the word is in the last column but one, its translation in the last.

    The first line of a .csv or .tsv file names the columns.

    Raises:
        BadInput: If a line has fewer than two columns, or none has any word.
    """
    separator = "\t" if ".tsv" in file.name.lower() else ","
    rows = list(csv.reader(_lines(file), delimiter=separator))
    pairs = []
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        if len(row) < 2:
            raise BadInput(f"{file}, line {number}: one column; a word and its translation are expected.")
        if number > 1:
            pairs.append((row[-2], row[-1]))
    return _table(file, pairs)


def read_muse(file: Path) -> Table:
    """A file of MUSE: a word, white space, its translation; a tab may stand between phrases.

    Raises:
        BadInput: If a line has not two of them.
    """
    pairs = []
    for number, line in enumerate(_lines(file), 1):
        fields = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        if not line.strip():
            continue
        if len(fields) != 2:
            raise BadInput(f"{file}, line {number}: {len(fields)} parts; a word and its translation are expected.")
        pairs.append((fields[0], fields[1]))
    return _table(file, pairs)


def inverted(pairs: Table) -> Table:
    """The dictionary in the other direction."""
    return Table.of_pairs([(value, word) for word in pairs.words() for value in pairs.find(word)])


def _table(file: Path, pairs: list[tuple[str, str]]) -> Table:
    table = Table.of_pairs(pairs)
    if not len(table):
        raise BadInput(f"{file}: no word in it.")
    return table


def _lines(file: Path) -> list[str]:
    try:
        return [decoded(raw) for _, raw in raw_lines(file)]
    except ValueError as error:
        raise BadInput(f"{file}: {error}.") from None
