"""The report of a ranking of source languages: each candidate's score, its parts, and how far to trust it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from clustering.distances import uriel as typology
from clustering.errors import BadInput
from clustering.files import write_text
from clustering.languages.codes import name_of
from clustering.languages.facts import LanguageFacts, facts_of, is_signed, type_of
from clustering.sources.sets import SourceSet
from clustering.sources.signals import SIGNALS, Query, shared_script

# Below this many features known of both languages a distance says more about the gaps than about the pair.
FEW_FEATURES = 10
_FEW_WORDS = 5_000
_MUCH_FALLBACK = 0.2
_SHARED_SCRIPT = 0.2  # text of any script has some Latin letters in it


@dataclass(frozen=True)
class SourceScore:
    """One candidate source language.

    Attributes:
        language: ISO 639-3 code, as the user gave the language.
        name: English name.
        rank: 1 for the best.
        score: Sum of `contributions`; 0 is the mean candidate. Comparable within one report only.
        contributions: The part of the score that each signal adds or subtracts.
        signals: The raw values behind it; None where unknown.
        coverage: Per kind of typology, the facts known of both languages.
        place: Latitude and longitude in degrees, or None where unknown.
        warnings: Reasons to trust the score less.
        facts: Scope, type, modality, script, speakers and evidence of text.
    """

    language: str
    name: str
    rank: int
    score: float
    contributions: dict[str, float]
    signals: dict[str, float | None]
    coverage: dict[str, int]
    place: tuple[float, float] | None
    warnings: list[str]
    facts: LanguageFacts


class Ranking(Sequence[SourceScore]):
    """Candidates from best to worst; each entry is made on use, so 7,970 are as quick as 7."""

    def __init__(
        self,
        query: Query,
        contributions: Mapping[str, np.ndarray],
        scripts: Mapping[str, Mapping[str, float]],
        notes: Mapping[str, Sequence[str]],
        top: int | None,
    ) -> None:
        """Order the candidates of a query.

        Args:
            query: The target, its C candidates and their signals.
            contributions: Per signal, shape (C,); their sum is the score. Ties keep the candidates' order.
            scripts: Per language its share of letters per script, where there is text.
            notes: Further warnings per language.
            top: Candidates to keep, or None for all.
        """
        self._query = query
        self._contributions = dict(contributions)
        self._scripts = scripts
        self._notes = notes
        total = sum(self._contributions.values(), np.zeros(len(query.candidates)))
        self._order = np.argsort(-total, kind="stable")[:top]
        self._with_text = {name for name in scripts if name != query.target}

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> SourceScore: ...
    @overload
    def __getitem__(self, index: slice) -> list[SourceScore]: ...
    def __getitem__(self, index: int | slice) -> SourceScore | list[SourceScore]:
        if isinstance(index, slice):
            return [self._entry(position) for position in range(len(self))[index]]
        return self._entry(range(len(self))[index])

    def __iter__(self) -> Iterator[SourceScore]:
        return (self._entry(position) for position in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        shown = ", ".join(f"{entry.language} {entry.score:+.2f}" for entry in self[:5])
        return f"<Ranking of {len(self)}: {shown}{', …' if len(self) > 5 else ''}>"

    def codes(self) -> list[str]:
        """Codes from best to worst."""
        return [self._query.candidates[row] for row in self._order]

    def _entry(self, position: int) -> SourceScore:
        row = int(self._order[position])
        code = self._query.candidates[row]
        contributions = {name: float(values[row]) for name, values in self._contributions.items()}
        coverage = {kind: int(values[row]) for kind, values in self._query.coverage.items()}
        return SourceScore(
            language=code,
            name=name_of(code),
            rank=position + 1,
            score=sum(contributions.values()),
            contributions=contributions,
            signals={name: _or_none(values[row]) for name, values in self._query.raw.items()},
            coverage=coverage,
            place=place_of(code),
            warnings=self._warnings(row, code, coverage),
            facts=facts_of(code),
        )

    def _warnings(self, row: int, code: str, coverage: Mapping[str, int]) -> list[str]:
        query, found = self._query, []
        if is_signed(code) != is_signed(query.target):
            found.append("spoken beside signed: URIEL's typology does not compare them")
        elif is_signed(code):
            pass  # said once for the whole report
        elif np.isnan(query.raw["syntactic"][row]):
            found.append("URIEL has no row: nothing is known of its typology")
        elif coverage["syntactic"] == 0:
            found.append("no syntactic feature is known of both: its syntax is predicted from relatives and neighbours")
        elif coverage["syntactic"] < FEW_FEATURES:
            found.append(f"typology rests on {coverage['syntactic']} features known of both")
        if not np.isnan(query.raw["syntactic"][row]) and np.isnan(query.raw["geographic"][row]):
            found.append("its place or the target's is not known")
        if self._with_text and code not in self._with_text:
            found.append("no text: overlap and size count as average")
        own, target = self._scripts.get(code), self._scripts.get(query.target)
        if own and target and shared_script(own, target) < _SHARED_SCRIPT:
            found.append(f"no shared script ({_first(own)}, the target {_first(target)})")
        return found + list(self._notes.get(code, ()))


@dataclass(frozen=True)
class SourceReport:
    """Source languages for a target, best first, with everything needed to judge the ranking.

    Attributes:
        target: ISO 639-3 code, as the user gave the language.
        target_name: English name.
        ranking: Best first; a sequence of `SourceScore`.
        method: `default`, or what the trained ranker says of itself.
        num_candidates: How many were compared (`top` may show fewer).
        warnings: Warnings that hold for the whole ranking.
        profiles: Sizes of each corpus, target's included; {} without text.
        target_place: Latitude and longitude of the target, or None.
        command: The command line that made the report, or "".
        left_out: Which of URIEL's languages were not compared, and why; "" if the user named the candidates.
        best_set: The sources that together cover the target best, if they were asked for.
    """

    target: str
    target_name: str
    ranking: Sequence[SourceScore]
    method: str
    num_candidates: int
    warnings: list[str] = field(default_factory=list)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    target_place: tuple[float, float] | None = None
    command: str = ""
    left_out: str = ""
    best_set: SourceSet | None = None

    def __repr__(self) -> str:
        return f"SourceReport({self.target_name} ({self.target}), of {self.num_candidates}: {self.ranking!r})"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values; the content of `to_json`."""
        return {
            "target": self.target,
            "target_name": self.target_name,
            "target_place": self.target_place,
            "method": self.method,
            "num_candidates": self.num_candidates,
            "warnings": self.warnings,
            "command": self.command,
            "left_out": self.left_out,
            **({} if self.best_set is None else {"best_set": asdict(self.best_set)}),
            "ranking": [asdict(entry) for entry in self.ranking],
            "profiles": self.profiles,
            "signals": {name: asdict(signal) for name, signal in SIGNALS.items()},
        }

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1)

    def to_markdown(self) -> str:
        """The report as Markdown text."""
        from clustering.sources.pages import markdown

        return markdown(self)

    def to_html(self) -> str:
        """The report as one self-contained HTML page (no network, prints well, light and dark)."""
        from clustering.sources.pages import html

        return html(self)

    def save(self, path: str | Path) -> None:
        """Write the report; `.html`, `.md` or `.json` decides the form.

        Raises:
            BadInput: If the suffix is unknown.
        """
        forms = {".html": self.to_html, ".md": self.to_markdown, ".json": self.to_json}
        suffix = Path(path).suffix.lower()
        if suffix not in forms:
            raise BadInput(f"{path}: a report is written as {', '.join(forms)}; name the file so.")
        write_text(path, forms[suffix]())


def text_notes(profile: Mapping[str, Any]) -> list[str]:
    """Warnings that a corpus gives by itself.

    Args:
        profile: A `Profile.summary()`.
    """
    notes = []
    if profile["words"] < _FEW_WORDS:
        notes.append(f"its corpus has {profile['words']} words: overlap and TTR are rough")
    if (profile["fallback_share"] or 0.0) > _MUCH_FALLBACK:
        notes.append(
            f"{profile['fallback_share']:.0%} of its tokens are bytes or unknown: the tokenizer hardly knows it"
        )
    return notes


def place_of(code: str) -> tuple[float, float] | None:
    """Latitude and longitude, or None where URIEL has no row or no place; invented languages have none."""
    if type_of(code) == "constructed":
        return None
    try:
        return typology.coordinates(code)
    except BadInput:
        return None


def _first(shares: Mapping[str, float]) -> str:
    return next(iter(shares), "none").title()


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
