"""`Alignment`: what was measured, as a table, text and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from xelm.aligning.probes import WAYS
from xelm.recipe.docstrings import fields_in_help
from xelm.run.reading import KeptAsJson
from xelm.transferring.measures.bootstrap import Interval

MEAN = "mean"
"""Stands for the language in a row that is the mean over languages."""
_TITLES = {"raw": "raw", "centred": "centred", "csls": "CSLS", "centred_csls": "centred CSLS", "procrustes": "rotated"}


@dataclass(frozen=True)
class Found:
    """How often translations are found, both ways, with 95 % intervals."""

    to_pivot: Interval
    from_pivot: Interval


@dataclass(frozen=True)
class AlignmentRow:
    """One language under one model.

    Attributes:
        model: Name of the model.
        language: Code, or `mean`.
        tested: Pairs among which translations were looked for.
        fitted: Pairs that means and rotation come from.
        ways: Way of comparing (`raw`, `centred`, `csls`, `centred_csls`, `procrustes`) -> accuracy.
    """

    model: str
    language: str
    tested: int
    fitted: int
    ways: Mapping[str, Found]


@dataclass(frozen=True)
class Leakage:
    """How often a linear classifier names the language of a vector.

    Attributes:
        model: Name of the model.
        languages: The languages told apart, the pivot among them.
        raw: Accuracy, in the mean over languages.
        centred: The same with the mean of each language taken away.
        chance: What guessing gives.
    """

    model: str
    languages: Sequence[str]
    raw: float
    centred: float
    chance: float


@fields_in_help
@dataclass(frozen=True)
class Alignment(KeptAsJson):
    """How well models put translations side by side."""

    pivot: str
    """The language that all others are compared with."""
    rows: Sequence[AlignmentRow]
    """A row for each model and language, and the mean of each model with several."""
    leakage: Sequence[Leakage]
    """For each model that reads two languages or more."""
    notes: Sequence[str] = ()
    """Warnings and what was left out."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """With `train`: what was trained on what, and where it was written. Empty otherwise."""

    @property
    def table(self) -> list[dict[str, Any]]:
        """One flat row for each of `rows`: `raw_to` is the accuracy from the language to the pivot, `raw_from` back."""
        return [
            {
                "model": row.model,
                "language": row.language,
                "tested": row.tested,
                "fitted": row.fitted,
                **{f"{way}_to": found.to_pivot.value for way, found in row.ways.items()},
                **{f"{way}_from": found.from_pivot.value for way, found in row.ways.items()},
            }
            for row in self.rows
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pivot": self.pivot,
            "rows": [asdict(row) for row in self.rows],
            "leakage": [asdict(found) for found in self.leakage],
            "notes": list(self.notes),
            "training": dict(self.training),
        }

    def to_text(self) -> str:
        """For the terminal."""
        from tabulate import tabulate

        ways = [way for way in WAYS if any(way in row.ways for row in self.rows)]
        headers = ["model", "language", "tested", "fitted", *(_TITLES[way] for way in ways)]
        cells = [
            [row.model, row.language, row.tested, row.fitted, *(_cell(row.ways.get(way)) for way in ways)]
            for row in self.rows
        ]
        lines = [
            f"translations found (accuracy at 1): to {self.pivot} / from {self.pivot}",
            tabulate(cells, headers=headers, disable_numparse=True, stralign="right"),
        ]
        lines += [
            f"language told from a vector of {one.model}: {one.raw:.3f}, centred {one.centred:.3f} "
            f"(chance {one.chance:.3f}, {len(one.languages)} languages)"
            for one in self.leakage
        ]
        if self.training:
            lines.append(self._trained())
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _trained(self) -> str:
        facts = self.training
        pairs = ", ".join(f"{code} {number:,}" for code, number in facts["pairs"].items())
        lines = [f"trained on {pairs} pairs in {facts['steps']:,} steps ({facts['adapter']})"]
        bits = facts.get("bits_per_byte", {})
        lines += [
            f"bits per byte of {code}, held-out text: {value:.3f} before, {bits['after'][code]:.3f} after"
            for code, value in bits.get("before", {}).items()
            if code in bits["after"]
        ]
        lines.append(
            f"expert {facts['expert']} of {facts['model']}" if "expert" in facts else f"written to {facts['folder']}"
        )
        return "\n".join(lines)


def _cell(found: Found | None) -> str:
    return f"{found.to_pivot.value:.3f} / {found.from_pivot.value:.3f}" if found else ""
