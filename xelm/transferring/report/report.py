"""`TransferReport`: the results of a transfer experiment, as values, Markdown and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import read_json, write_text
from xelm.transferring.cells import NONE, OWN, PLAIN
from xelm.transferring.measures.bootstrap import Interval

FORMAT = "xelm-transfer"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class CellResult:
    """One row of the table in one target.

    Attributes:
        target: Code of the language.
        languages: The languages that taught.
        accuracy: Share of right answers, mean over seeds and draws, with its interval over test rows.
        figures: Others: `macro_f1`; `span_f1` where labels make spans.
        by_seed: Accuracy of each seed and draw.
        num_rows: Test rows.
        num_units: Things that were labelled in them (words, or the rows themselves).
        num_taught: Rows that taught, of the first seed.
        is_home: Whether the target is among the languages that taught.
        gap: Accuracy of the sources at home less this one; None where that was not measured.
        own_gap: (Accuracy of the target's own rows - this one) / the former; None where it was not measured.
    """

    target: str
    languages: list[str]
    accuracy: Interval
    figures: dict[str, float]
    by_seed: list[float]
    num_rows: int
    num_units: int
    num_taught: int
    is_home: bool
    gap: float | None = None
    own_gap: float | None = None


@dataclass(frozen=True)
class RowResult:
    """A technique, a model, sources and shots, over all targets that are not among the sources.

    Attributes:
        technique: Its name; `plain` is zero-shot, or few-shot where there are shots.
        policy: The model of the base.
        head: The way to learn.
        sources: Name of the set of languages that teach.
        shots: Labelled rows of the target.
        cells: Per target.
        mean: Mean accuracy over targets that are not among the sources; None if there is none.
        spread: Standard deviation of that mean over seeds and draws; None where nothing was random.
        num_replicates: Seeds and draws that gave different lessons; 1 where nothing was random.
        variance: Between targets: the mean of (accuracy - mean)².
        worst: The target with the least accuracy.
        mean_gap: Mean of the targets' gaps.
        mean_own_gap: Mean of their gaps to their own rows.
        macro_f1: Mean over targets.
        against: Mean accuracy less that of the reference on the same targets.
        reference: What that is: technique, policy, head, sources, shots.
    """

    technique: str
    policy: str
    head: str
    sources: str
    shots: int
    cells: list[CellResult]
    mean: Interval | None
    spread: float | None
    num_replicates: int
    variance: float | None
    worst: str | None
    mean_gap: float | None
    mean_own_gap: float | None
    macro_f1: float | None
    against: Interval | None = None
    reference: list[Any] | None = None

    @property
    def label(self) -> str:
        """What it is called in tables."""
        if self.sources == OWN:
            return "own rows"
        shots = "" if not self.shots else f"{self.shots} shots"
        plain = shots or "zero-shot" if self.technique == PLAIN else f"{self.technique}{f', {shots}' if shots else ''}"
        return plain if self.sources != NONE else f"{plain} alone"

    @property
    def transfer(self) -> list[CellResult]:
        """Targets that are not among the sources (all of them where own rows teach)."""
        return [cell for cell in self.cells if not cell.is_home or self.sources == OWN]


@dataclass(frozen=True)
class Choice:
    """What `rank_sources` would have taken for a target among the sources that were measured, and what that cost.

    Attributes:
        target: Code.
        ranking: The measured sources, the best first by `rank_sources`.
        best: The source with the highest accuracy.
        accuracies: Source -> accuracy.
    """

    target: str
    ranking: list[str]
    best: str
    accuracies: dict[str, float]

    @property
    def chosen(self) -> str:
        """Its first choice."""
        return self.ranking[0]

    def loss(self, source: str) -> float:
        """Accuracy of the best source less that of another."""
        return self.accuracies[self.best] - self.accuracies[source]


@dataclass(frozen=True)
class TransferReport:
    """The results.

    Attributes:
        task: Kind of task.
        unit: What is labelled: `row` or `word`.
        base: The model, run or features.
        labels: The classes.
        languages: Code -> `name`, `train`, `test`: its rows.
        seeds: Number of seeds.
        draws: Drawings of shots for each seed.
        rows: The table.
        choices: What `rank_sources` would have taken; empty where fewer than three single sources were measured.
        leaks: Training rows that were left out: `translations`, `repeats`, `shared_ids`.
        skipped: What could not be measured: `technique`, `target`, `sources`, `reason`.
        notes: What techniques had to say.
        made: The recipe and package versions.
    """

    task: str
    unit: str
    base: str
    labels: list[str]
    languages: dict[str, dict[str, Any]]
    seeds: int
    draws: int
    rows: list[RowResult]
    choices: list[Choice]
    leaks: dict[str, int]
    skipped: list[dict[str, str]]
    notes: list[str] = field(default_factory=list)
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each technique, model, set of sources and number of shots, as values."""
        return [_as_values(row) for row in self.rows if row.transfer]

    @property
    def plain(self) -> list[RowResult]:
        """Zero-shot with the first model and head: a row for each set of sources."""
        first = next((row for row in self.rows if row.technique == PLAIN), None)
        if first is None:
            return []
        return [
            row
            for row in self.rows
            if (row.technique, row.policy, row.head, row.shots) == (PLAIN, first.policy, first.head, 0)
            and row.sources not in (OWN, NONE)
            and row.transfer
        ]

    @property
    def gap(self) -> dict[str, dict[str, float]]:
        """Of zero-shot: sources -> target -> accuracy of the sources at home less that in the target."""
        return {
            row.sources: {cell.target: cell.gap for cell in row.transfer if cell.gap is not None} for row in self.plain
        }

    @property
    def variance(self) -> dict[str, float]:
        """Of zero-shot: sources -> variance of the accuracy between targets."""
        return {row.sources: row.variance for row in self.plain if row.variance is not None}

    @property
    def best_source(self) -> dict[str, str]:
        """Target -> the single source with the highest zero-shot accuracy, where several were measured."""
        return {choice.target: choice.best for choice in self.choices}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {"format": FORMAT, "format_version": FORMAT_VERSION, "table": self.table, **asdict(self)}
        return found | {"gap": self.gap, "variance": self.variance, "best_source": self.best_source}

    def to_json(self) -> str:
        """Everything as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"

    def to_text(self) -> str:
        """A table for the terminal."""
        from xelm.transferring.report.text import to_text

        return to_text(self)

    def to_markdown(self) -> str:
        """The content of the page as Markdown."""
        from xelm.transferring.report.text import to_markdown

        return to_markdown(self)

    def to_html(self) -> str:
        """One self-contained page, which loads nothing from anywhere."""
        from xelm.transferring.report.page import render

        return render(self)

    def save(self, path: str | Path) -> None:
        """Write it, complete or not at all; `.html`, `.json` or `.md` decides the form.

        Raises:
            BadInput: If the suffix is unknown.
        """
        forms = {".html": self.to_html, ".json": self.to_json, ".md": self.to_markdown}
        form = forms.get(Path(path).suffix)
        if form is None:
            raise BadInput(f"{path}: a report is written as {' or '.join(forms)}. Choose such a name.")
        write_text(path, form())

    @classmethod
    def load(cls, path: str | Path) -> TransferReport:
        """Read what `save` wrote as `.json`.

        Raises:
            BadInput: If it is no report of this kind, or of another version.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise BadInput(f"{path}: no report of a transfer; `xelm transfer` writes one.")
        if content.get("format_version") != FORMAT_VERSION:
            raise BadInput(f"{path}: format {content.get('format_version')!r}, this program reads {FORMAT_VERSION}.")
        derived = ("format", "format_version", "table", "gap", "variance", "best_source")
        values = {key: value for key, value in content.items() if key not in derived}
        values["rows"] = [_row(value) for value in content["rows"]]
        values["choices"] = [Choice(**value) for value in content["choices"]]
        return cls(**values)


def _as_values(row: RowResult) -> dict[str, Any]:
    cells = row.transfer
    return {
        "technique": row.technique,
        "label": row.label,
        "model": row.policy,
        "head": row.head,
        "sources": row.sources,
        "shots": row.shots,
        "accuracy": row.mean.value if row.mean else None,
        "interval": [row.mean.low, row.mean.high] if row.mean else None,
        "macro_f1": row.macro_f1,
        "targets": len(cells),
        "n": sum(cell.num_rows for cell in cells),
        "seeds": row.num_replicates,
        "spread": row.spread,
        "gap": row.mean_gap,
        "own_gap": row.mean_own_gap,
        "variance": row.variance,
        "worst_language": row.worst,
        "against": None if row.against is None else asdict(row.against),
        "by_language": {cell.target: cell.accuracy.value for cell in cells},
    }


def _interval(value: Mapping[str, Any] | None) -> Interval | None:
    return Interval(**value) if value else None


def _row(value: Mapping[str, Any]) -> RowResult:
    cells = [CellResult(**{**cell, "accuracy": Interval(**cell["accuracy"])}) for cell in value["cells"]]
    changed = {"cells": cells, "mean": _interval(value["mean"]), "against": _interval(value["against"])}
    return RowResult(**{**value, **changed})
