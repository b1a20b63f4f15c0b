"""Main memory that this process may still take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_CGROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free_bytes() -> int:
    """Free memory: of the machine, and of what a container or a Slurm job may use, whichever is less."""
    import psutil

    return min([int(psutil.virtual_memory().available), *left_in_groups(_CGROUPS, _OWN_GROUPS)])


def left_in_groups(root: Path, own: Path) -> Iterator[int]:
    """Bytes that are left in each control group of Linux that this process is in and that has a limit.

    Args:
        root: Where the groups are shown as folders.
        own: The file that names the groups of this process.
    """
    lines = own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if not kinds:
            top, limit, used, unused = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in kinds.split(","):
            top, unused = root / "memory", "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top) and (most := _number(folder / limit)) is not None:
                # Files that were read count as used, and are given up when memory is needed.
                yield max(0, most - (_number(folder / used) or 0) + _statistic(folder / "memory.stat", unused))


def _number(file: Path) -> int | None:
    """The number in a file; None if there is none, as where there is no limit."""
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def _statistic(file: Path, name: str) -> int:
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
