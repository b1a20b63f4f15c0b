"""What the user may say about machines. None of it changes what a model learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clustering.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Machines for a run."""

    launcher: Literal["local", "slurm"] = "local"
    processes: int = 1
    """Processes that train one model together (DDP), a GPU each where there are any."""
    fsdp: bool = False
    """Share the model out over these processes (FSDP) instead of giving each a whole one."""
    workers: int | None = None
    """local: models trained at a time. None: as many as the GPUs allow, one where there are none."""
    partition: str | None = None
    account: str | None = None
    time_min: int = 24 * 60
    """slurm: limit of one job; a job that reaches it is queued again and goes on from its last checkpoint."""
    gpus: int = 0
    """slurm: GPUs of one job, on one node."""
    cpus: int = 1
    """slurm: CPUs of each process."""
    mem_gib: float | None = None
    """slurm: memory of one job; None: the partition's default."""
    max_jobs: int = 256
    """slurm: jobs of the array that run at a time."""
    poll_s: float = 10.0
    """slurm: how often the jobs are looked at."""

    def __post_init__(self) -> None:
        for name in ("processes", "workers", "time_min", "cpus", "max_jobs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadInput(f"--{name.removesuffix('_min').replace('_', '-')} {value} must be at least 1.")
        if self.fsdp and self.processes < 2:
            raise BadInput("--fsdp shares a model out over processes: add --processes N, of at least 2.")
        if self.gpus < 0 or (self.gpus and self.gpus % self.processes):
            raise BadInput(f"--gpus {self.gpus} must be a multiple of --processes {self.processes}, or 0.")
        slurm = {"partition": self.partition, "account": self.account, "gpus": self.gpus, "mem": self.mem_gib}
        given = [f"--{name}" for name, value in slurm.items() if value]
        if self.launcher == "local" and given:
            raise BadInput(f"{', '.join(given)}: for Slurm jobs only; add --launcher slurm, or leave it out.")
        if self.launcher == "slurm" and self.workers:
            raise BadInput("--workers is for this machine; with --launcher slurm say --max-jobs.")
