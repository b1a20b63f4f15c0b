"""Text that is in two splits or in two languages of a run, counted before anything is trained on it.

If the training text contains a test document, results on it are too good; if two languages have the same text, one of
them is labelled wrongly. The token store drops exact duplicates within a language. This module finds those that differ
in spaces, case or punctuation, those that are nearly the same (`clustering.corpora.shingles`), and those in other
languages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clustering.corpora.shingles import WINDOW, Shingles, key_of, letters_of
from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.languages.codes import name_of

_SKETCH = 1 << 16
"""Number of training documents of a language that are compared with other languages': those with the smallest keys, so
that all languages choose the same documents (bottom-k sketch). Up to this number the count is exact, else estimated."""


_REPORTED = 0.001
"""Share of a language's training documents in another language from which on they are reported."""


@dataclass(frozen=True)
class HeldOutOverlap:
    """Held-out documents of a language and split that are in other text too."""

    language: str
    split: str
    documents: int
    """Number of documents of the language and split."""
    where: str
    """The language of the other text, or `valid` for the language's own validation text."""
    same: int
    """Number of documents that are equal except for spaces, case and punctuation."""
    near: int
    """Number of documents that are nearly the same."""


@dataclass(frozen=True)
class SharedTraining:
    """Training documents that two languages have in common."""

    languages: tuple[str, str]
    share: float
    """Their share of the smaller language's documents, 0 to 1."""


@dataclass(frozen=True)
class Duplicates:
    """Text that is in two places."""

    heldout: list[HeldOutOverlap] = field(default_factory=list)
    training: list[SharedTraining] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """A sentence for each pair of texts that overlap."""
        warnings = []
        for one in self.heldout:
            own = {one.language: "its own training text", "valid": "its own valid text"}
            place = own.get(one.where) or f"the training text of {name_of(one.where)} ({one.where})"
            warnings.append(
                f"{name_of(one.language)} ({one.language}): {one.same + one.near} of {one.documents} {one.split} "
                f"documents are in {place} as well ({one.same} but for spaces, case and punctuation, {one.near} "
                "nearly the same). Results on them are too good: take them out of one of the two."
            )
        for shared in self.training:
            if shared.share < _REPORTED:
                continue
            first, second = (f"{name_of(code)} ({code})" for code in shared.languages)
            warnings.append(
                f"{first} and {second}: {shared.share:.1%} of the training documents of the smaller are in the other "
                "too. Is one of them in the wrong language?"
            )
        return warnings


def find_duplicates(
    heldout: Mapping[str, Mapping[str, list[str]]], training: Mapping[str, Callable[[], Iterable[str]]]
) -> Duplicates:
    """Look for held-out documents in all training text, and for training documents in other languages.

    Every training text is read once, as a stream; memory grows with the held-out text, which is limited.

    Args:
        heldout: Language -> split -> documents.
        training: Language -> how to read its training text.
    """
    places = [(code, split) for code, splits in heldout.items() for split, texts in splits.items() for _ in texts]
    shingles = Shingles([text for splits in heldout.values() for texts in splits.values() for text in texts])
    found: list[HeldOutOverlap] = []
    sketches = {}
    for code, read in training.items():
        sketch = _Sketch()
        same, near = shingles.find(sketch.watch(map(letters_of, read())))
        # In two languages, a short equal document may be a name or a number.
        same = {i for i in same if places[i][0] == code or shingles.num_letters[i] >= WINDOW}
        found += _counted(heldout, places, same, near, code)
        sketches[code] = sketch.keys()
    for code, splits in heldout.items():
        found += _between_splits(code, splits)
    order = sorted(found, key=lambda one: (one.language, one.split, one.where != one.language, one.where))
    return Duplicates(order, _shared(sketches))


def kept_duplicates(file: Path, make: Callable[[], Duplicates]) -> Duplicates:
    """The result read from a file, or computed and kept there."""
    try:
        content = read_json(file)
        heldout = [HeldOutOverlap(**one) for one in content["heldout"]]
        training = [SharedTraining(tuple(one["languages"]), one["share"]) for one in content["training"]]
        return Duplicates(heldout, training)
    except (BadInput, KeyError, TypeError, RecursionError):
        result = make()
    write_json(file, asdict(result))
    return result


class _Sketch:
    """The smallest keys of the documents that pass through."""

    def __init__(self) -> None:
        self._heap: list[int] = []  # negated: the greatest of the kept is first
        self._kept = set[int]()

    def watch(self, documents: Iterable[str]) -> Iterator[str]:
        """Pass on the letters of documents and keep their keys."""
        for letters in documents:
            if len(letters) >= WINDOW:
                self._add(key_of(letters))
            yield letters

    def keys(self) -> tuple[set[int], int | None]:
        """The keys, and the greatest of them if some were left out."""
        return self._kept, -self._heap[0] if len(self._kept) == _SKETCH else None

    def _add(self, key: int) -> None:
        if key in self._kept or (len(self._heap) == _SKETCH and key > -self._heap[0]):
            return
        if len(self._heap) == _SKETCH:
            self._kept.discard(-heapq.heappushpop(self._heap, -key))
        else:
            heapq.heappush(self._heap, -key)
        self._kept.add(key)


def _counted(
    heldout: Mapping[str, Mapping[str, list[str]]],
    places: list[tuple[str, str]],
    same: set[int],
    near: set[int],
    where: str,
) -> list[HeldOutOverlap]:
    overlaps = []
    for code, split in dict.fromkeys(places[i] for i in sorted(same | near)):
        counts = [sum(places[i] == (code, split) for i in of) for of in (same, near)]
        overlaps.append(HeldOutOverlap(code, split, len(heldout[code][split]), where, *counts))
    return overlaps


def _between_splits(code: str, splits: Mapping[str, list[str]]) -> list[HeldOutOverlap]:
    test, valid = splits.get("test", []), splits.get("valid", [])
    if not test or not valid:
        return []
    same, near = Shingles(test).find(map(letters_of, valid))
    return [HeldOutOverlap(code, "test", len(test), "valid", len(same), len(near))] if same or near else []


def _shared(sketches: dict[str, tuple[set[int], int | None]]) -> list[SharedTraining]:
    shared: list[SharedTraining] = []
    codes: list[Any] = sorted(sketches)
    for index, first in enumerate(codes):
        for second in codes[index + 1 :]:
            limits = [limit for _, limit in (sketches[first], sketches[second]) if limit is not None]
            below = min(limits, default=2**64)
            one, other = ({key for key in sketches[code][0] if key <= below} for code in (first, second))
            common = len(one & other)
            if common:
                shared.append(SharedTraining((first, second), common / min(len(one), len(other))))
    return shared
