"""The lessons of an experiment, and the work of one process on them."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clustering.errors import BadInput
from clustering.files import read_json
from xelm.launch.attempt import note_failure
from xelm.run.failures import Failure, disk_failure, in_a_sentence
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
            failure = attempt_lesson(experiment, lessons[key]) if is_mine else None
        reasons += [failure] if failure else []
    if reasons:
        note_failure(folder, name, Failure(" ".join(f.reason for f in reasons), all(f.bad_input for f in reasons)))
    return not reasons


def attempt_lesson(experiment: Experiment, part: Part) -> Failure | None:
    """Teach one lesson; a failure other than bad input is returned, not raised."""
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
