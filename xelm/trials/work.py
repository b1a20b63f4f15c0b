"""Make many trials: in this process, by workers that take the next free one, or as Slurm jobs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from clustering.files import write_json
from xelm.launch.local import num_workers, run_workers
from xelm.launch.options import Launch
from xelm.launch.slurm import run_jobs
from xelm.launch.work import TRIALS_FILE
from xelm.run.failures import Failure, raise_failures
from xelm.trials.place import Place
from xelm.trials.tasks import WORKER, Task, do_task, is_done, job_name

logger = logging.getLogger(__name__)


def do_tasks(folder: Path, places: Mapping[str, Place], tasks: Sequence[Task], launch: Launch) -> None:
    """Make the missing models and read with them; finished work is kept.

    Args:
        folder: Common folder of the places.
        places: Places by their folder inside the common one.
        tasks: Tasks in the order in which they are begun.
        launch: Options for machines.

    Raises:
        BadInput: If some could not be made because of the user's input.
        TrainingFailedError: If some could not be made for other reasons.
    """
    missing = [task for task in dict.fromkeys(tasks) if not is_done(places[task.place], task)]
    if not missing:
        return
    apart = launch.launcher == "slurm" or launch.processes > 1
    if not apart and num_workers(launch) == 1:
        tried = {str(number): do_task(places[task.place], task) for number, task in enumerate(missing)}
        _raise({name: failure for name, failure in tried.items() if failure}, len(missing))
        return
    file = _write(folder, places, missing)
    if apart:
        names = [job_name(places[task.place], task) for task in missing]
        failures = dict(
            run_jobs(file, names, launch) if launch.launcher == "slurm" else run_workers(file, names, launch)
        )
    else:
        names = [f"{WORKER}{number}" for number in range(min(num_workers(launch), len(missing)))]
        failures = dict(run_workers(file, names, launch))
    left = [task for task in missing if not is_done(places[task.place], task)]
    if left:
        unknown = {"work": Failure("a worker ended before its trials were made.")}
        _raise(failures or unknown, len(missing))


def _write(folder: Path, places: Mapping[str, Place], tasks: Sequence[Task]) -> Path:
    recipes = {name: places[name].recipe.to_dict() for name in {task.place for task in tasks}}
    write_json(folder / "work" / TRIALS_FILE, {"recipes": recipes, "tasks": [task.to_dict() for task in tasks]})
    for lock in (folder / "work").glob("trial-*.lock"):
        lock.unlink()
    return folder / "work" / TRIALS_FILE


def _raise(failures: Mapping[str, Failure], number: int) -> None:
    if failures:
        raise_failures(failures, number)
