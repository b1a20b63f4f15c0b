"""`Distillation`: what `distill` made, beside the models it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from xelm.distilling.measure import AVERAGE, EXPERTS, STUDENT
from xelm.recipe.docstrings import fields_in_help
from xelm.run.names import BASE, DENSE
from xelm.run.reading import KeptAsJson

REPORT_FILE = "distillation.json"
_ORDER = (STUDENT, DENSE, EXPERTS, BASE, AVERAGE)


@fields_in_help
@dataclass(frozen=True)
class Distillation(KeptAsJson):
    """A student, and how well it reads the run's held-out text."""

    folder: str
    """Where the student is."""
    run: str
    """The run that taught it."""
    student: str
    """The model that it was at first."""
    tokens: int
    """Tokens that it was trained on."""
    dense_tokens: int | None
    """The same of the dense baseline; None if the run has none."""
    settings: Mapping[str, Any]
    """Temperature, mix, policy, learning rate, seed."""
    bits_per_byte: Mapping[str, Mapping[str, float]]
    """Model (`student`, `dense`, `experts`, `base`, `average`) -> language -> bits per byte on test text."""
    compared: Mapping[str, Sequence[float]]
    """Model -> change of the student's bits per byte against it in percent (negative: the student is better), mean over
    languages; and, where documents were measured one by one, the ends of a 95 % interval."""
    notes: Sequence[str] = field(default_factory=list)
    """What was not measured, and why."""

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row a model: `model`, `mean` over languages, and each language."""
        return [
            {"model": name, "mean": sum(bits.values()) / max(1, len(bits)), **bits}
            for name in _ORDER
            if (bits := self.bits_per_byte.get(name))
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """For the terminal."""
        from tabulate import tabulate

        rows = self.table
        codes = sorted({key for row in rows for key in row} - {"model", "mean"})
        cells = [[code, *(f"{row[code]:.3f}" if code in row else "" for row in rows)] for code in ("mean", *codes)]
        headers = ["bits per byte", *(row["model"] for row in rows)]
        lines = [tabulate(cells, headers=headers, disable_numparse=True, stralign="right")]
        lines += [f"student against {name}: {_said(change)}" for name, change in self.compared.items()]
        lines.append(f"{self.tokens:,} tokens (dense: {f'{self.dense_tokens:,}' if self.dense_tokens else 'none'})")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes), f"written to {self.folder}"])


def _said(change: Sequence[float]) -> str:
    value, *ends = change
    return f"{value:+.2f} %" + (f" (95 %: {ends[0]:+.2f} to {ends[1]:+.2f})" if ends else "")
