"""Progress of long work: a bar in a terminal, a line now and then in a file, nothing with `-q`."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 30.0


def show_progress(
    items: Iterable[T] | None = None, *, desc: str, unit: str, disable: bool = False, **options: Any
) -> Any:
    """Show the progress of work: iterate over the returned object, or call `update` on it.

    Args:
        items: The items of the work; None if the caller counts by `update`.
        desc: A word for the work, such as `tokenise`.
        unit: The unit that is counted, such as `language`.
        disable: Whether to show nothing.
        options: `total`, `initial`, `unit_scale` and `leave`, as for tqdm.

    Returns:
        A tqdm bar if standard error is a terminal, else an object of the same use that logs a line each
        `SECONDS_BETWEEN_LINES`. With `xelm -q`, or TQDM_DISABLE set, nothing is shown.
    """
    quiet = disable or logging.getLogger("xelm").level > logging.INFO or bool(os.environ.get("TQDM_DISABLE"))
    if quiet or not sys.stderr.isatty():
        return _Lines(items, desc, unit, quiet, **options)
    from tqdm import tqdm

    return tqdm(items, desc=desc, unit=unit, **options)


class _Lines(Generic[T]):
    """The counterpart of a bar for a file: few lines, each complete."""

    def __init__(
        self,
        items: Iterable[T] | None,
        desc: str,
        unit: str,
        quiet: bool,
        *,
        total: int | None = None,
        initial: int = 0,
        unit_scale: bool = False,
        leave: bool = True,
    ) -> None:
        self._items = items
        self._total = len(items) if total is None and hasattr(items, "__len__") else total  # type: ignore[arg-type]
        self._what, self._quiet = f"{desc}: {{}} {unit}", quiet
        self._count, self._facts = initial, ""
        self._next_s = time.monotonic() + SECONDS_BETWEEN_LINES

    def __iter__(self) -> Iterator[T]:
        for item in self._items or ():
            yield item
            self.update(1)

    def update(self, count: int) -> None:
        """Count more units as done."""
        self._count += count
        now = time.monotonic()
        if now >= self._next_s and not self._quiet:
            self._next_s = now + SECONDS_BETWEEN_LINES
            of = "" if self._total is None else f" of {self._total:,}"
            log.info("%s%s", self._what.format(f"{self._count:,}{of}"), self._facts)

    def set_postfix(self, **facts: str) -> None:
        """Facts to show beside the count."""
        self._facts = "".join(f", {name} {value}" for name, value in facts.items())

    def __enter__(self) -> _Lines[T]:
        return self

    def __exit__(self, *_: object) -> None:
        return None
