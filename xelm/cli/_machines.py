"""Options that say on which machines models are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option(
        "--launcher", type=click.Choice(["local", "slurm"]), default="local", help="This machine, or Slurm jobs."
    ),
    click.option("--processes", type=int, default=1, help="Processes that train one model together, a GPU each."),
    click.option("--workers", type=int, help="local: models at a time (default: one a GPU, or one)."),
    click.option("--partition", help="slurm: partition."),
    click.option("--account", help="slurm: account."),
    click.option("--time", "time_min", type=int, default=24 * 60, help="slurm: minutes a job; then it queues again."),
    click.option("--gpus", type=int, default=0, help="slurm: GPUs a job."),
    click.option("--cpus", type=int, default=1, help="slurm: CPUs a process."),
    click.option("--mem", "mem_gib", type=float, help="slurm: GiB of memory a job."),
    click.option("--max-jobs", type=int, default=256, help="slurm: jobs at a time."),
)


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of `xelm.launch.options.Launch`, as keywords of the same names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
