"""The instructions for the workers of a run, kept in a file beside its unfinished work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.files import read_json, write_json
from xelm.recipe.recipe import Recipe

FINISH = "finish"
"""Name of the task that makes the router, the evaluation and the report."""
TRIALS_FILE = "trials.json"
"""Names of the tasks of `xelm.trials`, which uses the same folder in another kind of run."""

LESSONS_FILE = "lessons.json"
"""The same of `xelm.transferring`."""


@dataclass(frozen=True)
class Work:
    """The information that every worker of a run needs."""

    run: Path
    recipe: Recipe
    redo: bool
    report: bool
    processes: int = 1
    """Number of processes that train one model together."""
    fsdp: bool = False
    """Whether they shard it."""

    def write(self) -> Path:
        """Write it beside the unfinished work of the run, with which it is removed."""
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
        """Read it; the run is the folder above the file's."""
        value = read_json(file)
        return cls(file.resolve().parents[1], **{**value, "recipe": Recipe.from_dict(value["recipe"])})
