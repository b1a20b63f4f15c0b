"""What a transfer would measure, told before anything is taught or translated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xelm.transferring.cells import OWN
from xelm.transferring.experiment import Experiment
from xelm.transferring.recipe import TransferRecipe
from xelm.transferring.transfer import as_recipe, refuse_nothing


@dataclass(frozen=True)
class TransferBill:
    """The plan of an experiment.

    Attributes:
        task: Kind of task.
        labels: The classes.
        languages: Code -> rows that teach and that test.
        targets: Languages that are answered.
        techniques: Techniques in order.
        sources: Name of each set -> target -> the languages that teach.
        cells: Numbers that are measured, seeds and draws counted.
        leaks: Training rows that are left out.
        skipped: What cannot be measured, and why.
    """

    task: str
    labels: list[str]
    languages: dict[str, dict[str, int]]
    targets: list[str]
    techniques: list[str]
    sources: dict[str, dict[str, list[str]]]
    cells: int
    leaks: dict[str, int]
    skipped: list[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """For the terminal."""
        from tabulate import tabulate

        rows = [[code, own["train"], own["test"]] for code, own in self.languages.items()]
        lines = [
            f"{self.task}, {len(self.labels)} labels, {len(self.targets)} targets, {self.cells:,} numbers to measure",
            tabulate(rows, headers=["language", "rows that teach", "rows that test"]),
            f"techniques: {', '.join(self.techniques)}",
        ]
        for name, own in self.sources.items():
            taught = {"+".join(languages) for languages in own.values()}
            same = f": {next(iter(taught))}" if len(taught) == 1 and next(iter(taught)) != name else ""
            each = "" if len(taught) == 1 else ": " + ", ".join(f"{t} by {'+'.join(s)}" for t, s in own.items())
            lines.append(f"sources {name}{same or each}")
        left_out = self.leaks["translations"] + self.leaks["repeats"]
        lines.append(f"training rows left out because tests hold their translation or text: {left_out}")
        lines += [
            f"not measured: {s['technique']}, {s['sources']} to {s['target']}: {s['reason']}" for s in self.skipped
        ]
        return "\n".join(lines)


def bill(
    recipe: str | Path | TransferRecipe | Mapping[str, Any], out: str | Path, *, overrides: tuple[str, ...] = ()
) -> TransferBill:
    """What `transfer` would measure; nothing is written, translated or taught.

    Raises:
        BadInput: For a recipe, data or a model that cannot be used.
    """
    experiment = Experiment(as_recipe(recipe, overrides), Path(out))
    refuse_nothing(experiment)
    rowset = experiment.rowset
    sources: dict[str, dict[str, list[str]]] = {}
    for cell in experiment.cells:
        if cell.sources != OWN:
            sources.setdefault(cell.sources, {})[cell.target] = list(cell.languages)
    return TransferBill(
        task=rowset.task.kind,
        labels=rowset.labels,
        languages={
            code: {"train": len(rowset.train(code)), "test": len(rowset.test(code))} for code in rowset.languages
        },
        targets=experiment.planner.targets,
        techniques=[item.label for item in experiment.planner.techniques],
        sources=sources,
        cells=len(experiment.cells),
        leaks=asdict(rowset.leaks),
        skipped=[asdict(item) for item in experiment.skipped],
    )
