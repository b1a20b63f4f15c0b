"""What the workers of a run are told, kept in a file beside its unfinished work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.files import read_json, write_json
from xelm.recipe.recipe import Recipe

FINISH = "finish"
"""Task of the router, the evaluation and the report."""
TRIALS_FILE = "trials.json"
"""Tasks of `xelm.trials`, in the same folder of another kind of run."""


@dataclass(frozen=True)
class Work:
    """What every worker of a run has to know."""

    run: Path
    recipe: Recipe
    redo: bool
    report: bool
    processes: int = 1
    """That train one model together."""
    fsdp: bool = False
    """Whether they share it out."""

    def write(self) -> Path:
        """Write it beside the unfinished work of the run, where it goes away with it."""
        file = self.run / "work" / "launch.json"
        value: dict[str, Any] = {
            "recipe": self.recipe.to_dict(),
            "redo": self.redo,
            "report": self.report,
            "processes": self.processes,
            "fsdp": self.fsdp,
        }
        write_json(file, value)
        return file

    @classmethod
    def read(cls, file: Path) -> Work:
        """Read it; the run is where the file is."""
        value = read_json(file)
        return cls(file.resolve().parents[1], **{**value, "recipe": Recipe.from_dict(value["recipe"])})
