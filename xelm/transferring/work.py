"""Teach the lessons of an experiment: in this process, by workers that take the next free one, or as Slurm jobs."""

from __future__ import annotations

from collections.abc import Sequence

from clustering.errors import BadInput, arg
from clustering.files import write_json
from clustering.progress import show_progress
from xelm.launch.local import num_workers, run_workers
from xelm.launch.options import Launch
from xelm.launch.slurm import run_jobs
from xelm.launch.work import LESSONS_FILE
from xelm.run.failures import Failure, raise_failures
from xelm.transferring.experiment import Experiment
from xelm.transferring.lessons import WORKER, attempt_lesson, lessons_of


def teach_all(experiment: Experiment, launch: Launch) -> None:
    """Teach what has not been taught; what was answered is kept.

    Raises:
        BadInput: If some lessons failed because of the user's input.
        TrainingFailedError: If some failed for other reasons.
    """
    missing = lessons_of(experiment)
    if not missing:
        return
    if launch.together > 1:
        many = " and ".join(arg(name) for name in ("nodes", "processes") if getattr(launch, name) > 1)
        raise BadInput(f"a task is taught by one process: leave {many} out; {arg('workers')} may be many.")
    if launch.launcher == "local" and num_workers(launch) == 1:
        failures: dict[str, Failure] = {}
        for part in show_progress(list(missing.values()), desc="teach", unit="lesson"):
            failure = attempt_lesson(experiment, part)
            failures |= {part.key: failure} if failure else {}
    else:
        failures = _apart(experiment, list(missing), launch)
    if failures:
        raise_failures(failures, len(missing))


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
