"""Other processes that tokenise: they say what they say through this one, and end when it ends."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, TypeVar

Result = TypeVar("Result")
NOT_SEVERAL = "Text cannot be tokenised in several processes here (%s); it goes on in one."


@dataclass(frozen=True)
class Elsewhere:
    """Processes that wait for work."""

    pool: ProcessPoolExecutor

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Let one of them call a function of a module.

        Raises:
            BrokenProcessPool: If none can be begun, or one has died.
        """
        try:
            with _program_hidden():
                return self.pool.submit(function, *arguments)
        except OSError as error:
            raise BrokenProcessPool(str(error)) from error


@contextmanager
def elsewhere(number: int, begin: Callable[..., None], *arguments: Any) -> Iterator[Elsewhere]:
    """Processes in which `begin` is called first. What they have not begun when the context is left by an error is left
    undone; where the whole program is told to end, what they have begun too.

    Raises:
        BrokenProcessPool: If processes cannot be had here, or one has died.
    """
    context = multiprocessing.get_context("spawn")
    try:
        messages, (end, lead) = context.Queue(), context.Pipe(duplex=False)
        level = logging.getLogger("xelm").level
        pool = ProcessPoolExecutor(number, context, _begin, (messages, level, end, begin, arguments))
    except OSError as error:
        raise BrokenProcessPool(str(error)) from error
    listener = QueueListener(messages, _Here())
    listener.start()
    try:
        with pool:
            try:
                yield Elsewhere(pool)
            except Exception:
                pool.shutdown(cancel_futures=True)
                raise
            except BaseException:
                lead.close()
                raise
    finally:
        lead.close()
        listener.stop()


@contextmanager
def _program_hidden() -> Iterator[None]:
    """New processes import the program that runs, and a script that does not ask whether it is the main one would run
    again in each. Nothing of it is needed there."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


class _Here(logging.Handler):
    """Gives messages of another process to the loggers of this one."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)


def _begin(messages: Any, level: int, end: Connection, begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Prepare a new process: its messages go to the process that asked, and its tokenizer takes one core."""
    threading.Thread(target=_end_with, args=(end,), name="end", daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    root = logging.getLogger()
    root.handlers = [QueueHandler(messages)]
    logging.getLogger("xelm").setLevel(level)
    begin(*arguments)


def _end_with(end: Connection) -> None:
    """End this process when the other side of a pipe is closed, as it also is when that process is killed."""
    try:
        end.poll(None)
    finally:
        os._exit(1)
