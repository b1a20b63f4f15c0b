"""Make many trials: in this process, by workers that take the next free one, or as Slurm jobs."""

from __future__ import annotations

import dataclasses
import fcntl
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from xelm.launch.attempt import attempt, note_failure
from xelm.launch.local import num_workers, run_workers
from xelm.launch.options import Launch
from xelm.launch.slurm import run_jobs
from xelm.launch.work import TRIALS_FILE
from xelm.making.make_model import is_made
from xelm.recipe.recipe import Recipe
from xelm.run.failures import Failure, disk_failure, in_a_sentence, raise_failures
from xelm.trials.place import Place, Trial
from xelm.trials.scores import is_scored, score_trial

_WORKER = "worker-"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A base (`trial` None) or a trial of one place, given by its folder beneath the common one."""

    place: str
    trial: Trial | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"place": self.place, "trial": dataclasses.asdict(self.trial) if self.trial else None}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Task:
        """Of JSON values."""
        return cls(value["place"], Trial.from_dict(value["trial"]) if value["trial"] else None)


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
    missing = [task for task in dict.fromkeys(tasks) if not _is_done(places[task.place], task)]
    if not missing:
        return
    apart = launch.launcher == "slurm" or launch.processes > 1
    if not apart and num_workers(launch) == 1:
        tried = {str(number): _do(places[task.place], task) for number, task in enumerate(missing)}
        _raise({name: failure for name, failure in tried.items() if failure}, len(missing))
        return
    file = _write(folder, places, missing)
    if apart:
        names = [_job_name(places[task.place], task) for task in missing]
        failures = dict(
            run_jobs(file, names, launch) if launch.launcher == "slurm" else run_workers(file, names, launch)
        )
    else:
        names = [f"{_WORKER}{number}" for number in range(min(num_workers(launch), len(missing)))]
        failures = dict(run_workers(file, names, launch))
    left = [task for task in missing if not _is_done(places[task.place], task)]
    if left:
        unknown = {"work": Failure("a worker ended before its trials were made.")}
        _raise(failures or unknown, len(missing))


def work_on(file: Path, name: str) -> bool:
    """Do the work of a worker or job: the task of that name alone, or, as `worker-N`, every free task.

    Returns:
        Whether all succeeded; if not, the reason is kept beside the work.
    """
    value, folder = read_json(file), file.resolve().parents[1]
    tasks = [Task.from_dict(item) for item in value["tasks"]]
    places: dict[str, Place] = {}

    def place_of(task: Task) -> Place:
        if task.place not in places:
            places[task.place] = Place.prepare(Recipe.from_dict(value["recipes"][task.place]), folder / task.place)
        return places[task.place]

    reasons = []
    if name.startswith(_WORKER):
        for number, task in enumerate(tasks):
            with _claimed(folder, number) as is_mine:
                failure = _do(place_of(task), task) if is_mine else None
            reasons += [failure] if failure else []
    else:
        task = next(task for task in tasks if _job_name(place_of(task), task) == name)
        failure = _do(place_of(task), task)
        reasons += [failure] if failure else []
    if reasons:
        note_failure(folder, name, Failure(" ".join(f.reason for f in reasons), all(f.bad_input for f in reasons)))
    return not reasons


def _do(place: Place, task: Task) -> Failure | None:
    """Make a task's model and read with it."""
    making = place.making(task.trial) if task.trial else place.base
    if _is_done(place, task):
        return None
    failure = attempt(place.folder, making.folder.name, making)
    if failure or task.trial is None:
        return failure
    try:
        score_trial(place, task.trial)
    except Exception as error:  # the failure of one model must not stop the others
        if disk_failure(error):
            raise
        return Failure(in_a_sentence(error), isinstance(error, BadInput))
    return None


def _is_done(place: Place, task: Task) -> bool:
    if task.trial is None:
        return is_made(place.base)
    return is_made(place.making(task.trial)) and is_scored(place, task.trial)


def _job_name(place: Place, task: Task) -> str:
    """A name that does not depend on other tasks, so that a job of an earlier call is recognised."""
    model = (place.making(task.trial) if task.trial else place.base).folder.name
    return model if task.place == "." else f"{task.place}--{model}"


def _write(folder: Path, places: Mapping[str, Place], tasks: Sequence[Task]) -> Path:
    recipes = {name: places[name].recipe.to_dict() for name in {task.place for task in tasks}}
    write_json(folder / "work" / TRIALS_FILE, {"recipes": recipes, "tasks": [task.to_dict() for task in tasks]})
    for lock in (folder / "work").glob("trial-*.lock"):
        lock.unlink()
    return folder / "work" / TRIALS_FILE


@contextmanager
def _claimed(folder: Path, number: int) -> Iterator[bool]:
    """Hold a task, unless another worker holds it."""
    with (folder / "work" / f"trial-{number}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _raise(failures: Mapping[str, Failure], number: int) -> None:
    if failures:
        raise_failures(failures, number)
