"""Workers on this machine: each makes one model on its own GPU or GPUs, as many at a time as fit."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from xelm.launch.attempt import forget_failure, known_failure
from xelm.launch.options import Launch
from xelm.run.failures import Failure

_POLL_S = 0.2
logger = logging.getLogger(__name__)


def num_workers(launch: Launch) -> int:
    """Number of models that are trained at the same time on this machine."""
    import torch

    return launch.workers or max(1, torch.cuda.device_count() // launch.processes)


def run_workers(work_file: Path, names: Sequence[str], launch: Launch) -> dict[str, Failure]:
    """Make models in processes of their own and wait for all of them.

    Args:
        work_file: File of `xelm.launch.work.Work`.
        names: Models, in the order in which they are begun.
        launch: How many at a time, and with how many processes each.

    Returns:
        The reasons why some were not made; empty if all were.
    """
    run, slots = work_file.parents[1], deque(range(num_workers(launch)))
    waiting, running = deque(names), dict[str, tuple[subprocess.Popen[bytes], int]]()
    failures: dict[str, Failure] = {}
    try:
        while waiting or running:
            while waiting and slots:
                name, slot = waiting.popleft(), slots.popleft()
                forget_failure(run, name)
                running[name] = _start(work_file, name, slot, launch), slot
            time.sleep(_POLL_S)
            for name, (process, slot) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                slots.append(slot)
                if process.returncode:
                    failures[name] = known_failure(run, name) or _silent(run, name, process.returncode)
                    logger.error("%s failed: %s", name, failures[name].reason)
                else:
                    logger.info("%s is done", name)
    finally:
        for process, _ in running.values():
            process.terminate()
    return failures


def _start(work_file: Path, name: str, slot: int, launch: Launch) -> subprocess.Popen[bytes]:
    log = work_file.parents[1] / "logs" / f"{name}.worker.txt"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m"]
    if launch.processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={launch.processes}", "-m"]
    command += ["xelm.launch.worker", str(work_file), name]
    with log.open("a") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=_environment(slot, launch))


def _environment(slot: int, launch: Launch) -> dict[str, str]:
    import torch

    environment = dict(os.environ)
    if launch.processes > 1 and not torch.cuda.is_available():
        environment["ACCELERATE_USE_CPU"] = "true"
    gpus = torch.cuda.device_count()
    if gpus:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        first = slot * launch.processes % gpus
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(seen[first : first + launch.processes])
    return environment


def _silent(run: Path, name: str, code: int) -> Failure:
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return Failure(f"its process ended {how}; see {run / 'logs' / name}.worker.txt.")
