"""Sets of sources: which few languages together cover a target best, and what each adds.

Lin et al. (2019) rank single sources, but people train on several. A second near relative adds little that the first
has not; one that has other words or other constructions of the target adds more. What there is of a target to cover:
the types of its text, its syntactic features, the nodes of its family tree by their information, each aspect as much as
the others. A source covers an item with probability `TAUGHT` x (its relevance) x (how well it has the item); sources
are independent, so a set covers it with 1 - product of (1 - probability). The relevance of a source is exp((its score -
the best score) / `SCORE_SCALE`), 1 for the best single source, so that a language does not get into a set by features
that it shares by chance. Coverage is then monotone and has diminishing returns: adding what adds most reaches at least
63 % of the best possible (Nemhauser et al. 1978), and exchanging afterwards rarely betters it.
Shapes: P languages of the pool, A items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clustering.distances.arithmetic import family_entries, filled_features, rows_for
from clustering.distances.uriel import families
from clustering.errors import BadInput, arg
from clustering.languages.codes import name_of
from clustering.sources.profiles import Profile
from clustering.sources.signals import Query, used_overlap

POOL = 100
"""The best single sources, among which sets are looked for."""
SCORE_SCALE = 4.0
"""Lead in score at which the relevance of the lesser source falls to 1/e."""


TAUGHT = 0.9
"""Probability that the best source teaches an item that it has; below 1, so that a second one is worth something."""


@dataclass(frozen=True)
class SetMember:
    """A language of a set."""

    language: str
    """Its point, as in the ranking."""
    name: str
    """English name."""
    gain: float
    """The coverage that it adds to the members before it, 0 to 1."""
    gains: dict[str, float]
    """Its parts by aspect: `words` or `subwords`, `syntax`, `family`."""


@dataclass(frozen=True)
class SourceSet:
    """The sources that together cover a target best."""

    members: list[SetMember]
    """In the order in which each adds most to those before it."""
    coverage: float
    """How much of the target they cover, 0 to 1: the sum of the gains."""
    of_best_singles: float
    """How much as many of the best single sources cover, for comparison."""

    def languages(self) -> list[str]:
        """The members' points."""
        return [member.language for member in self.members]


def best_set(
    query: Query, scores: np.ndarray, profiles: Mapping[str, Profile], order: Sequence[int], size: int
) -> SourceSet:
    """Find the sources that together cover a target best.

    Args:
        query: The target with its C candidates and their signals.
        scores: Scores of the candidates, shape (C,).
        profiles: Profiles of target and candidates, where there is text. Of overlaps given as numbers it is not known
            which words they are; they count as independent.
        order: Rows of the candidates from the best single one; the first `POOL` are looked at.
        size: Number of sources.

    Raises:
        BadInput: If there are fewer candidates, or nothing to cover is known of the target.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= len(order):
        raise BadInput(f"{arg('sets', size)}: choose 1 to {len(order)}, the number of candidates.")
    rows = list(order[: max(POOL, size)])
    relevance = np.exp((scores[rows] - scores[rows[0]]) / SCORE_SCALE)
    aspects = _aspects(query, rows, profiles)
    if not aspects:
        raise BadInput(f"Nothing is known of {name_of(query.target)} that a set could cover. Give text of it.")
    items = _Items(aspects, relevance)
    chosen = items.in_order(items.exchanged(items.greedy(size)))
    members, left = [], np.ones(len(items.weights))
    for row in chosen:
        code = query.candidates[rows[row]]
        gains = items.gains(row, left)
        members.append(SetMember(code, name_of(code), sum(gains.values()), gains))
        left = left * items.misses[row]
    return SourceSet(members, items.coverage(chosen), items.coverage(range(size)))


class _Items:
    """All that there is to cover, with the probability that each language of the pool does not."""

    def __init__(self, aspects: Mapping[str, tuple[np.ndarray, np.ndarray]], relevance: np.ndarray) -> None:
        """Join the aspects.

        Args:
            aspects: Name -> how well each language has each item, shape (P, A), and the items' weights, shape (A,).
            relevance: Of each language, shape (P,).
        """
        self.misses = 1 - TAUGHT * relevance[:, None] * np.concatenate([has for has, _ in aspects.values()], axis=1)
        self.weights = np.concatenate([weights / weights.sum() / len(aspects) for _, weights in aspects.values()])
        ends = np.cumsum([len(weights) for _, weights in aspects.values()])
        self._parts = dict(zip(aspects, map(slice, [0, *ends[:-1]], ends), strict=True))

    def gains(self, row: int, left: np.ndarray) -> dict[str, float]:
        """What a language adds by aspect, where `left` is the probability that each item is not covered yet."""
        added = self.weights * left * (1 - self.misses[row])
        return {name: float(added[part].sum()) for name, part in self._parts.items()}

    def coverage(self, chosen: Sequence[int]) -> float:
        """The share of the target that languages cover together."""
        return float(self.weights @ (1 - self.misses[list(chosen)].prod(axis=0)))

    def greedy(self, size: int) -> list[int]:
        """Languages, each time the one that adds most; the better ranked one on ties."""
        chosen: list[int] = []
        while len(chosen) < size:
            chosen.append(self._best_beside(chosen, chosen)[0])
        return chosen

    def exchanged(self, chosen: list[int]) -> list[int]:
        """The set after exchanging single languages as long as that covers more."""
        best = self.coverage(chosen)
        while True:
            options = []
            for place in range(len(chosen)):
                kept = chosen[:place] + chosen[place + 1 :]
                other, gain = self._best_beside(kept, chosen)
                options.append((self.coverage(kept) + gain, [*kept, other]))
            value, other_set = max(options)
            if not value > best + 1e-9:
                return chosen
            best, chosen = value, other_set

    def in_order(self, chosen: Sequence[int]) -> list[int]:
        """The languages in the order in which each adds most."""
        ordered: list[int] = []
        while len(ordered) < len(chosen):
            outside = [row for row in range(len(self.misses)) if row not in chosen]
            ordered.append(self._best_beside(ordered, [*ordered, *outside])[0])
        return ordered

    def _best_beside(self, chosen: Sequence[int], excluded: Sequence[int]) -> tuple[int, float]:
        left = self.weights * self.misses[list(chosen)].prod(axis=0)
        gains = left.sum() - self.misses @ left
        gains[list(excluded)] = -1.0
        best = int(gains.argmax())
        return best, float(gains[best])


def _aspects(
    query: Query, rows: Sequence[int], profiles: Mapping[str, Profile]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per aspect how well each language of the pool has each item, shape (P, A), and the items' weights, shape (A,)."""
    codes = tuple(query.candidates[row] for row in rows)
    raw = {name: values[list(rows)] for name, values in query.raw.items()}
    found = {}
    overlap = used_overlap(query.raw)
    name = "subwords" if overlap == "subword_overlap" else "words"
    if query.target in profiles:
        found[name] = _words(query.target, codes, profiles, overlap)
    elif overlap in raw and np.isfinite(raw[overlap]).any():
        shares = np.nan_to_num(2 * raw[overlap]).clip(0, 1)  # an overlap is at most one half
        found[name] = shares[:, None], np.ones(1)
    if np.isfinite(raw["syntactic"]).any():
        found["syntax"] = _syntax(query.target, codes, np.isfinite(raw["syntactic"]))
    if np.isfinite(raw["shared_family"]).any():
        found["family"] = _family(query.target, codes, np.isfinite(raw["shared_family"]))
    return {name: part for name, part in found.items() if part[1].sum() > 0}


def _words(
    target: str, codes: Sequence[str], profiles: Mapping[str, Profile], overlap: str
) -> tuple[np.ndarray, np.ndarray]:
    """Types of the target, those that the same languages have taken together."""

    def types_of(profile: Profile) -> dict[str, int]:
        return profile.subwords if overlap == "subword_overlap" else profile.words

    place = {word: column for column, word in enumerate(types_of(profiles[target]))}
    has = np.zeros((len(codes), max(1, len(place))), dtype=bool)
    for row, code in enumerate(codes):
        if code in profiles:
            has[row, [place[word] for word in types_of(profiles[code]).keys() & place.keys()]] = True
    _, first, counts = np.unique(np.packbits(has, axis=0), axis=1, return_index=True, return_counts=True)
    return has[:, first].astype(np.float64), counts.astype(np.float64) * bool(place)


def _syntax(target: str, codes: tuple[str, ...], known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Syntactic features, gaps filled as in distances; a language has one as far as its value is the target's."""
    own, *others = filled_features(
        "syntactic", (target, *(code for code, is_known in zip(codes, known, strict=True) if is_known))
    )
    has = np.zeros((len(codes), len(own)))
    has[known] = 1 - np.abs(np.stack(others) - own)
    return has, np.ones(len(own))


def _family(target: str, codes: tuple[str, ...], known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes above the target in the family tree, by their information; none for an isolate."""
    rows, columns, counts = family_entries()

    def nodes_of(code: str) -> np.ndarray:
        row = int(np.asarray(rows_for("genetic", (code,)))[0])
        return columns[slice(*np.searchsorted(rows, [row, row + 1]))]

    own = nodes_of(target)
    information = np.log(len(counts) / np.bincount(columns, minlength=len(families().names))[own])
    has = np.zeros((len(codes), len(own)))
    for row in np.flatnonzero(known):
        has[row] = np.isin(own, nodes_of(codes[row]))
    return has, information
