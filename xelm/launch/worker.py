"""A process that makes one model of a run (or its router, evaluation and report), told what by a file.

    python -m xelm.launch.worker RUN/work/launch.json NAME

Started by `xelm train`, which has prepared the run and waits.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from xelm.failures import Failure, in_a_sentence
from xelm.launch.attempt import attempt, note_failure
from xelm.recipe import Recipe
from xelm.training.processes import processes
from xelm.training.sharding import ask_for_shards

FINISH = "finish"
"""Task of the router, the evaluation and the report."""


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


def do_task(file: Path, name: str) -> bool:
    """Make one model, or finish the run.

    Returns:
        Whether it worked; if not, the reason is kept in the run (`xelm.launch.attempt.known_failure`).
    """
    from xelm.pipeline import finish
    from xelm.workspace import Workspace

    work = Work.read(file)
    try:
        workspace = Workspace.prepare(work.recipe, work.run)
        if name == FINISH:
            finish(workspace, report=work.report)
            return True
        if work.fsdp:
            ask_for_shards()
        together = processes().num_processes
        if together != work.processes:
            raise RuntimeError(f"{together} processes train together where {work.processes} were asked for.")
        return attempt(work.run, name, workspace.making(name), redo=work.redo) is None
    except Exception as error:
        note_failure(work.run, name, Failure(in_a_sentence(error), isinstance(error, BadInput)))
        raise


def main(arguments: list[str]) -> int:
    """Exit code 0 if the task is done, else 1."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    file, name = arguments
    return 0 if do_task(Path(file), name) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
