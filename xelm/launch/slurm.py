"""Slurm jobs through submitit: an array with one job for each model, on one node or several, queued again when
preempted or out of time."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from xelm.launch.attempt import forget_failure, known_failure
from xelm.launch.options import Launch
from xelm.run.failures import Failure

if TYPE_CHECKING:
    import submitit

_MANY_TIMEOUTS = 1000
_JOBS = "jobs.json"
logger = logging.getLogger(__name__)


class Task:
    """The function of a job: one task of a run, which finds its last checkpoint when the job is queued again."""

    def __call__(self, work_file: str, name: str) -> bool:
        """Do the task, with the other processes of the job if there are any, on one node or several."""
        import submitit
        import torch

        if submitit.JobEnvironment().num_tasks > 1:
            # accelerate uses the GPU of its local rank, of all that the job has.
            submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
            if not torch.cuda.is_available():
                os.environ["ACCELERATE_USE_CPU"] = "true"
        from xelm.launch.worker import do_task

        logging.basicConfig(format="%(message)s", level=logging.INFO)
        return do_task(Path(work_file), name)

    def checkpoint(self, work_file: str, name: str) -> Any:
        """Called by submitit before the job is queued again: the same task, since all progress is in the run."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, work_file, name)


def run_jobs(work_file: Path, names: Sequence[str], launch: Launch) -> dict[str, Failure]:
    """Do tasks as a job array and wait for all of them, and for jobs of an earlier call that still run.

    Args:
        work_file: File of `xelm.launch.work.Work`, on a file system that the nodes share.
        names: Models to be made, or `xelm.launch.work.FINISH`.
        launch: Nodes, partition, time, GPUs and the like.

    Returns:
        The reasons why some were not done; empty if all were.

    Raises:
        BadInput: If Slurm refuses the jobs.
    """
    run, folder = work_file.parents[1].resolve(), work_file.parent.resolve() / "slurm"
    jobs = _still_running(folder, names, launch)
    new = [name for name in names if name not in jobs]
    for name in new:
        forget_failure(run, name)
    jobs |= _submit(folder, work_file, new, launch)
    write_json(folder / _JOBS, {name: job.job_id for name, job in jobs.items()})
    logger.info("Slurm jobs: %s", ", ".join(f"{name} {job.job_id}" for name, job in jobs.items()))
    logger.info("Stop waiting with Ctrl-C: the jobs continue, and the same command waits for them again.")
    failures = _wait(run, jobs, launch)
    _keep_output(run, folder)
    return failures


def _submit(folder: Path, work_file: Path, names: Sequence[str], launch: Launch) -> dict[str, submitit.Job[bool]]:
    if not names:
        return {}
    import submitit
    from submitit.core.utils import FailedJobError

    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=_MANY_TIMEOUTS)
    options = {
        "name": "xelm",
        "timeout_min": launch.time_min,
        "nodes": launch.nodes,
        "tasks_per_node": launch.processes,
        "cpus_per_task": launch.cpus,
        "gpus_per_node": launch.gpus or None,
        "mem_gb": launch.mem_gib,
        "slurm_partition": launch.partition,
        "slurm_account": launch.account,
        "slurm_array_parallelism": launch.max_jobs,
        # A process that fails must not leave the others of its job waiting for it.
        "slurm_srun_args": ["--kill-on-bad-exit=1"],
    }
    try:
        executor.update_parameters(**{key: value for key, value in options.items() if value is not None})
        jobs = executor.map_array(Task(), [str(work_file.resolve())] * len(names), list(names))
    except (FailedJobError, RuntimeError, OSError) as error:
        raise BadInput(f"Slurm did not take the jobs: {str(error).strip().splitlines()[-1]}") from None
    return dict(zip(names, jobs, strict=True))


def _still_running(folder: Path, names: Sequence[str], launch: Launch) -> dict[str, submitit.Job[bool]]:
    import submitit

    if not (folder / _JOBS).is_file():
        return {}
    stored = read_json(folder / _JOBS)
    if not isinstance(stored, dict) or not all(re.fullmatch(r"[0-9]+(_[0-9]+)?", str(job)) for job in stored.values()):
        raise BadInput(f"{folder / _JOBS}: no list of Slurm jobs. Remove it; `squeue` says whether any still run.")
    known = {name: str(job_id) for name, job_id in stored.items() if name in names}
    tasks = list(range(launch.together))
    jobs = {name: submitit.SlurmJob[bool](folder=folder, job_id=job_id, tasks=tasks) for name, job_id in known.items()}
    return {name: job for name, job in jobs.items() if not job.done(force_check=True)}


def _wait(run: Path, jobs: dict[str, submitit.Job[bool]], launch: Launch) -> dict[str, Failure]:
    failures: dict[str, Failure] = {}
    unfinished = dict(jobs)
    while unfinished:
        time.sleep(launch.poll_s)
        for name, job in list(unfinished.items()):
            if not job.done(force_check=True):
                continue
            del unfinished[name]
            failure = _outcome(run, name, job)
            if failure:
                failures[name] = failure
                logger.error("%s failed: %s", name, failure.reason)
            else:
                logger.info("%s is done", name)
    return failures


def _outcome(run: Path, name: str, job: submitit.Job[bool]) -> Failure | None:
    known = known_failure(run, name)
    if known:
        return known
    if job.paths.result_pickle.is_file() and job.exception() is None:
        return None
    where = run / "logs" / "slurm"
    return Failure(f"Slurm job {job.job_id} ended as {job.state}; see {where}/{job.job_id}_*_log.err.")


def _keep_output(run: Path, folder: Path) -> None:
    target = run / "logs" / "slurm"
    target.mkdir(parents=True, exist_ok=True)
    for file in [*folder.glob("*.out"), *folder.glob("*.err")]:
        file.replace(target / file.name)
