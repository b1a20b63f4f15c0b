"""Sentence pairs: each language's sentences with their translations in one pivot language."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from clustering.corpora.find import Source, find_sources
from clustering.corpora.rows import SPLITS, Reading, Row
from clustering.errors import BadInput, arg
from clustering.languages.codes import UnknownLanguageError, match, same_language_key, to_code

HELDOUT = 0.2
"""Default share of the pairs that is held out, where rows name no split."""
_NO_LANGUAGE = ("id", "text", "split", "lang")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A sentence and its translation in the pivot language, which also stands for the sentence in every language."""

    text: str
    pivot: str


@dataclass(frozen=True)
class PairSet:
    """The pairs of one language.

    Attributes:
        language: Its code.
        fit: Pairs to learn from: means, rotations, training.
        held: Pairs that are tested; none of their pivot sentences is in any language's `fit`.
        left_out: Reason -> number of pairs that were left out.
    """

    language: str
    fit: tuple[Pair, ...]
    held: tuple[Pair, ...]
    left_out: Mapping[str, int]


def read_pairs(
    folder: str | Path, pivot: str, *, languages: Sequence[str] | None = None, heldout: float = HELDOUT
) -> dict[str, PairSet]:
    """Read the pairs of a folder with a file for each language.

    A row holds its sentence as `text` and the translation under the pivot's code (`"eng": "…"`); or it has an `id`, and
    the pivot's own file has the translation under the same one. Rows may name their split: `train` is learnt from,
    `test` is tested, `valid` is neither. If no row does, a hash of the pivot sentence decides, so that one sentence is
    on the same side in all languages.

    Args:
        folder: The folder, or anything that `[data] path` may be.
        pivot: The pivot language.
        languages: Languages to read; None: all but the pivot.
        heldout: Share of pairs to hold out where no row names its split, above 0 and below 1.

    Returns:
        Language -> pairs, sorted by code.

    Raises:
        BadInput: If there are no pairs, or none of a language to test on.
    """
    if not 0 < heldout < 1:
        raise BadInput(f"{arg('heldout', heldout)}: a share of the pairs above 0 and below 1.")
    code = to_code(pivot)
    sources = find_sources(str(folder))
    there = {source.code: source for source in sources}
    own = match(code, there)
    wanted = [name for name in there if name != own] if languages is None else _wanted(languages, there, own, folder)
    if not wanted:
        raise BadInput(f"{folder}: no language but the pivot {code}. Add files of others, or name another pivot.")
    by_id = _by_id(there[own]) if own else {}
    sides = {name: _sides(there[name], code, by_id, heldout) for name in sorted(wanted)}
    tested = {pair.pivot for side in sides.values() for pair in side.held}
    return {name: side.without(tested) for name, side in sides.items()}


def _wanted(languages: Sequence[str], there: Mapping[str, Source], own: str | None, folder: str | Path) -> list[str]:
    found = []
    for language in languages:
        name = match(language, there)
        if name is None:
            raise BadInput(f"{folder}: no pairs of '{language}'. There are: {', '.join(there)}.")
        if name == own:
            raise BadInput(f"{language}: is the pivot language, whose sentences the others are compared with.")
        found.append(name)
    return found


def _by_id(source: Source) -> dict[object, str]:
    return {_name(row.id): row.text for row in source.rows() if row.id is not None}


def _name(value: object) -> object:
    return value if isinstance(value, str | int) else repr(value)


@dataclass(frozen=True)
class _Sides:
    """What is known of a language before others are asked."""

    language: str
    fit: list[Pair]
    held: list[Pair]
    left_out: Counter[str]

    def without(self, tested: set[str]) -> PairSet:
        """The same with no pair to learn from whose pivot sentence is tested in any language."""
        kept = [pair for pair in self.fit if pair.pivot not in tested]
        dropped = len(self.fit) - len(kept)
        counts = dict(self.left_out) | ({"whose translation is tested": dropped} if dropped else {})
        if counts:
            said = ", ".join(f"{number} {reason}" for reason, number in counts.items())
            logger.warning("%s: pairs left out: %s.", self.language, said)
        return PairSet(self.language, tuple(kept), tuple(self.held), counts)


def _sides(source: Source, pivot: str, by_id: Mapping[object, str], heldout: float) -> _Sides:
    counts: Counter[str] = Counter()
    rows = list(_good(_pairs(source, pivot, by_id, counts), counts))
    if not rows:
        raise BadInput(
            f"{source.code}: no pairs. A row needs its translation under the key '{pivot}', or an id that the file of "
            f"{pivot} has too."
        )
    named = any(split == "test" for _, split in rows)
    sides: dict[str, list[Pair]] = {"train": [], "valid": [], "test": []}
    for pair, split in rows:
        mine = split or "train" if named else "test" if _share(pair.pivot) < heldout else "train"
        sides[mine].append(pair)
    if sides["valid"]:
        counts["of the split valid"] += len(sides["valid"])
    if len(sides["test"]) < 2:
        raise BadInput(
            f"{source.code}: {len(sides['test'])} of {len(rows)} pairs to test on, and a sentence is looked for among "
            f"two or more. Give more pairs, or a larger {arg('heldout')}."
        )
    return _Sides(source.code, sides["train"], sides["test"], counts)


def _pairs(
    source: Source, pivot: str, by_id: Mapping[object, str], counts: Counter[str]
) -> Iterator[tuple[Pair, str | None]]:
    for row in source.rows(Reading(whole=True)):
        other = _under_code(row, pivot)
        if other is None and row.id is not None:
            other = by_id.get(_name(row.id))
        if other is None:
            counts["without a translation"] += 1
        else:
            yield Pair(row.text.strip(), other.strip()), SPLITS[row.split] if row.split else None


def _under_code(row: Row, pivot: str) -> str | None:
    """The translation that stands in the row itself, under any code of the pivot."""
    for key, value in (row.values or {}).items():
        if isinstance(value, str) and key not in _NO_LANGUAGE and _is_code_of(key, pivot):
            return value
    return None


@cache
def _is_code_of(key: str, pivot: str) -> bool:
    try:
        return same_language_key(to_code(key)) == same_language_key(pivot)
    except (UnknownLanguageError, BadInput):
        return False


def _good(rows: Iterable[tuple[Pair, str | None]], counts: Counter[str]) -> Iterator[tuple[Pair, str | None]]:
    """Pairs that say something: two texts that differ, each of which was in no pair before."""
    texts, pivots = set[str](), set[str]()
    for pair, split in rows:
        if not pair.text or not pair.pivot:
            counts["with an empty side"] += 1
        elif pair.text == pair.pivot:
            counts["with the same text on both sides"] += 1
        elif pair.text in texts or pair.pivot in pivots:
            counts["with a sentence of an earlier pair"] += 1
        else:
            texts.add(pair.text)
            pivots.add(pair.pivot)
            yield pair, split


def _share(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32
