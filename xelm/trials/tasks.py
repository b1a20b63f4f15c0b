"""One trial: the work of a worker or a job on it, as a file describes."""

from __future__ import annotations

import dataclasses
import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import read_json
from xelm.launch.attempt import attempt, note_failure
from xelm.making.make_model import is_made
from xelm.recipe.recipe import Recipe
from xelm.run.failures import Failure, disk_failure, in_a_sentence
from xelm.trials.place import Place, Trial
from xelm.trials.scores import is_scored, score_trial

WORKER = "worker-"
"""Names of workers that take whatever is free begin with it."""


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
    if name.startswith(WORKER):
        for number, task in enumerate(tasks):
            with _claimed(folder, number) as is_mine:
                failure = do_task(place_of(task), task) if is_mine else None
            reasons += [failure] if failure else []
    else:
        task = next(task for task in tasks if job_name(place_of(task), task) == name)
        failure = do_task(place_of(task), task)
        reasons += [failure] if failure else []
    if reasons:
        note_failure(folder, name, Failure(" ".join(f.reason for f in reasons), all(f.bad_input for f in reasons)))
    return not reasons


def do_task(place: Place, task: Task) -> Failure | None:
    """Make a task's model and read with it."""
    making = place.making(task.trial) if task.trial else place.base
    if is_done(place, task):
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


def is_done(place: Place, task: Task) -> bool:
    """Whether the model of a task is made and, if it is a trial, scored."""
    if task.trial is None:
        return is_made(place.base)
    return is_made(place.making(task.trial)) and is_scored(place, task.trial)


def job_name(place: Place, task: Task) -> str:
    """A name that does not depend on other tasks, so that a job of an earlier call is recognised."""
    model = (place.making(task.trial) if task.trial else place.base).folder.name
    return model if task.place == "." else f"{task.place}--{model}"


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
