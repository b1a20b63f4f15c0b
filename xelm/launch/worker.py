"""A process that makes one model of a run (or its router, evaluation and report), as a file describes.

    python -m xelm.launch.worker RUN/work/launch.json NAME

Started by `xelm train`, which has prepared the run and waits.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from clustering.errors import BadInput
from xelm.launch.attempt import attempt, note_failure
from xelm.launch.work import FINISH, LESSONS_FILE, TRIALS_FILE, Work
from xelm.making.finish import finish
from xelm.making.workspace import Workspace
from xelm.run.failures import Failure, in_a_sentence
from xelm.training.processes import processes
from xelm.training.sharding import ask_for_shards
from xelm.trials.tasks import work_on


def do_task(file: Path, name: str) -> bool:
    """Make one model, or finish the run.

    Returns:
        Whether it worked; if not, the reason is kept in the run (`xelm.launch.attempt.known_failure`).
    """
    if file.name == TRIALS_FILE:
        return work_on(file, name)
    if file.name == LESSONS_FILE:
        from xelm.transferring.lessons import work_on as teach

        return teach(file, name)
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
        return attempt(work.run, name, workspace.makings.one(name), redo=work.redo) is None
    except Exception as error:
        note_failure(work.run, name, Failure(in_a_sentence(error), isinstance(error, BadInput)))
        raise


def main(arguments: list[str]) -> int:
    """Exit code 0 if the task is done, else 1."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    # As for an exception, a checkpoint that is being written is finished first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    file, name = arguments
    return 0 if do_task(Path(file), name) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
