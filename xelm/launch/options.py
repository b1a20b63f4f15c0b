"""Options for machines. None of them changes what a model learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from clustering.errors import BadInput, arg
from xelm.recipe.docstrings import fields_in_help


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Launch:
    """Machines for a run."""

    launcher: Literal["local", "slurm"] = "local"
    """Where models are trained: on this machine, or as Slurm jobs."""
    processes: int = 1
    """Processes that train one model together (DDP), each on a GPU of its own if there are any; so many on each of
    `nodes`."""
    fsdp: bool = False
    """Split each model over its processes (FSDP), for models that do not fit on one GPU."""
    workers: int | None = None
    """local: models trained at the same time. None: as many as the GPUs allow; 1 without a GPU."""
    partition: str | None = None
    """slurm: partition of the jobs."""
    account: str | None = None
    """slurm: account that the jobs are charged to."""
    nodes: int = 1
    """slurm: nodes that train one model together, in one job."""
    time_min: int = 24 * 60
    """slurm: time limit of a job in minutes; a job that reaches it is queued again and resumes from its last
    checkpoint."""
    gpus: int = 0
    """slurm: GPUs of each job, on each of its nodes."""
    cpus: int = 1
    """slurm: CPUs of each process."""
    mem_gib: float | None = None
    """slurm: memory of each job in GiB, on each of its nodes. None: what the partition gives."""
    max_jobs: int = 256
    """slurm: most jobs that run at the same time."""
    poll_s: float = 10.0
    """slurm: seconds between two looks at the jobs."""

    def __post_init__(self) -> None:
        for name in ("processes", "workers", "nodes", "time_min", "cpus", "max_jobs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"{arg(name, value)} must be at least 1.")
        if not self.poll_s > 0:
            raise BadInput(f"{arg('poll_s', self.poll_s)} must be greater than 0.")
        if self.fsdp and self.together < 2:
            raise BadInput(f"{arg('fsdp', True)} splits a model over processes: add {arg('processes', 2)} or more.")
        if self.gpus < 0 or (self.gpus and self.gpus % self.processes):
            raise BadInput(f"{arg('gpus', self.gpus)} must be 0, or a multiple of {arg('processes', self.processes)}.")
        given = [
            arg(name, value) for name in ("partition", "account", "gpus", "mem_gib") if (value := getattr(self, name))
        ] + ([arg("nodes", self.nodes)] if self.nodes > 1 else [])
        if self.launcher == "local" and given:
            raise BadInput(f"{', '.join(given)}: only for Slurm jobs. Add {arg('launcher', 'slurm')}, or leave it out.")
        if self.launcher == "slurm" and self.workers:
            raise BadInput(f"{arg('workers', self.workers)} is for this machine; for Slurm jobs use {arg('max_jobs')}.")

    @property
    def together(self) -> int:
        """Processes that train one model together, on all its nodes."""
        return self.nodes * self.processes

    def for_one_process(self) -> Launch:
        """The same machines for a task that is not shared."""
        return replace(self, nodes=1, processes=1, fsdp=False)
