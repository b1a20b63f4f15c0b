"""Progress of long work: a bar on a terminal, a line now and then where there is none, nothing with -q."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
LINE_EVERY_S = 30.0
"""How often a line is written where there is no terminal."""
logger = logging.getLogger(__name__)


class Progress:
    """Work of a known size under way. `update` counts; `note` shows figures beside it."""

    def __init__(self, total: int, title: str, *, unit: str = "", done: int = 0, keep: bool = False) -> None:
        self._total, self._title, self._unit, self._done = total, title, unit, done
        self._note = ""
        self._bar: Any = None
        self._next_line_s = time.monotonic() + LINE_EVERY_S
        self._quiet = not wanted()
        if not self._quiet and sys.stderr.isatty():
            from tqdm import tqdm

            large = total >= 10_000
            self._bar = tqdm(total=total, initial=done, desc=title, unit=unit, unit_scale=large, leave=keep)

    def update(self, number: int = 1) -> None:
        """So much more is done."""
        self._done += number
        if self._bar is not None:
            self._bar.update(number)
        elif not self._quiet and time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + LINE_EVERY_S
            share = 100 * self._done / self._total if self._total else 100.0
            counted = f"{self._done:,} of {self._total:,} {self._unit}".strip()
            logger.info("%s: %.0f %% (%s%s)", self._title, share, counted, f", {self._note}" if self._note else "")

    def note(self, **figures: object) -> None:
        """Figures shown beside it, such as the loss."""
        self._note = ", ".join(f"{name} {value}" for name, value in figures.items())
        if self._bar is not None:
            self._bar.set_postfix(figures)

    def close(self) -> None:
        """The work is over or given up."""
        if self._bar is not None:
            self._bar.close()


def wanted() -> bool:
    """Whether progress is to be shown: not with -q (only warnings are logged then) nor with TQDM_DISABLE."""
    if os.environ.get("TQDM_DISABLE", "").strip().lower() not in ("", "0", "false", "no"):
        return False
    set_by_someone = next((log.level for log in (logger, logger.parent) if log and log.level), logging.INFO)
    return set_by_someone <= logging.INFO


@contextmanager
def progress_of(
    total: int, title: str, *, unit: str = "", done: int = 0, keep: bool = False, shown: bool = True
) -> Iterator[Progress | None]:
    """Progress of work in steps; None where it is not shown."""
    if not shown:
        yield None
        return
    under_way = Progress(total, title, unit=unit, done=done, keep=keep)
    try:
        yield under_way
    finally:
        under_way.close()


def progress(items: Sequence[T], title: str, *, unit: str = "", keep: bool = False) -> Iterator[T]:
    """The items, with the progress through them shown."""
    with progress_of(len(items), title, unit=unit, keep=keep) as under_way:
        for item in items:
            yield item
            if under_way is not None:
                under_way.update()
