"""Teach the lessons of an experiment: in this process, by workers that take the next free one, or as Slurm jobs."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.progress import show_progress
from xelm.launch.attempt import note_failure
from xelm.launch.local import num_workers, run_workers
from xelm.launch.options import Launch
from xelm.launch.slurm import run_jobs
from xelm.launch.work import LESSONS_FILE
from xelm.run.failures import Failure, disk_failure, in_a_sentence, raise_failures
from xelm.transferring.experiment import Experiment, Part
from xelm.transferring.heads.head import Lesson
from xelm.transferring.recipe import TransferRecipe

WORKER = "worker-"
"""Names of workers that take whatever is free begin with it."""
logger = logging.getLogger(__name__)


def lessons_of(experiment: Experiment) -> dict[str, Part]:
    """Every lesson once, with all tests that any cell asks after it; those whose answers are not all there."""
    found: dict[str, Part] = {}
    for cell in experiment.cells:
        for part in experiment.parts(cell):
            known = found.get(part.key)
            found[part.key] = replace(part, lesson=_joined(known.lesson, part.lesson)) if known else part
    return {key: part for key, part in found.items() if not _is_done(experiment, part)}


def teach_all(experiment: Experiment, launch: Launch) -> None:
    """Teach what has not been taught; what was answered is kept.

    Raises:
        BadInput: If some lessons failed because of the user's input.
        TrainingFailedError: If some failed for other reasons.
    """
    missing = lessons_of(experiment)
    if not missing:
        return
    if launch.processes > 1:
        raise BadInput("a task is taught by one process at a time: leave processes out, and use workers.")
    if launch.launcher == "local" and num_workers(launch) == 1:
        failures: dict[str, Failure] = {}
        for part in show_progress(list(missing.values()), desc="teach", unit="lesson"):
            failure = _attempt(experiment, part)
            failures |= {part.key: failure} if failure else {}
    else:
        failures = _apart(experiment, list(missing), launch)
    if failures:
        raise_failures(failures, len(missing))


def work_on(file: Path, name: str) -> bool:
    """Do the work of a worker or job: the lesson of that name, or, as `worker-N`, every free one.

    Returns:
        Whether all succeeded; if not, the reason is kept beside the work.
    """
    value, folder = read_json(file), file.resolve().parents[1]
    experiment = Experiment(TransferRecipe.from_dict(value["recipe"]), folder)
    lessons = lessons_of(experiment)
    wanted = value["lessons"] if name.startswith(WORKER) else [name]
    reasons = []
    for key in wanted:
        if key not in lessons:
            continue
        with _claimed(folder, key, always=not name.startswith(WORKER)) as is_mine:
            failure = _attempt(experiment, lessons[key]) if is_mine else None
        reasons += [failure] if failure else []
    if reasons:
        note_failure(folder, name, Failure(" ".join(f.reason for f in reasons), all(f.bad_input for f in reasons)))
    return not reasons


def _apart(experiment: Experiment, keys: Sequence[str], launch: Launch) -> dict[str, Failure]:
    folder = experiment.folder
    recipe = experiment.recipe.to_dict()
    if any(callable(getattr(item, "translate", None)) for item in experiment.recipe.augment.items):
        raise BadInput(
            "a function of Python cannot be sent to workers or jobs: train in this process, or give a command."
        )
    file = folder / "work" / LESSONS_FILE
    write_json(file, {"recipe": recipe, "lessons": list(keys)})
    for lock in (folder / "work").glob("lesson-*.lock"):
        lock.unlink()
    if launch.launcher == "slurm":
        failures = run_jobs(file, keys, launch)
    else:
        names = [f"{WORKER}{number}" for number in range(min(num_workers(launch), len(keys)))]
        failures = run_workers(file, names, launch)
    left = lessons_of(experiment)
    if left and not failures:
        return {"work": Failure("a worker ended before its lessons were taught.")}
    return dict(failures) if left else {}


def _attempt(experiment: Experiment, part: Part) -> Failure | None:
    try:
        experiment.do(part.key, part.head, part.lesson)
    except Exception as error:  # one failure must not stop the other lessons
        if disk_failure(error):
            raise
        failure = Failure(in_a_sentence(error), isinstance(error, BadInput))
        logger.error("%s", failure.reason)
        if failure.bad_input:
            raise
        logger.debug("lesson %s", part.key, exc_info=True)
        return failure
    return None


def _is_done(experiment: Experiment, part: Part) -> bool:
    return all(experiment.files.has(part.key, test, rows) for test, rows in part.lesson.tests.items())


def _joined(first: Lesson, second: Lesson) -> Lesson:
    return replace(first, tests={**first.tests, **second.tests}, answerers={**first.answerers, **second.answerers})


@contextmanager
def _claimed(folder: Path, key: str, *, always: bool) -> Iterator[bool]:
    """Hold a lesson, unless another worker holds it."""
    if always:
        yield True
        return
    with (folder / "work" / f"lesson-{key}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
