"""Writes the checkpoints of a training on another thread, one after another, while the training goes on."""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

from clustering.files import atomic_write
from xelm.run.failures import in_a_sentence
from xelm.training.checkpoint import Progress, checkpoint_name, keep_newest, save_checkpoint
from xelm.training.course.stable import ends_stable_phase, note_course
from xelm.training.saving.copies import State, state_of
from xelm.training.stage import Stage

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class Writer:
    """Writes checkpoints of a stage. Leaving it as a context waits for the last one.

    Errors of a write (a full disk) are raised by the next call here, or when the context is left.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None
        self._told = False

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Begin to write a checkpoint of this moment, after the one before is written.

        All processes that train together call this; the first of them writes.
        """
        self._wait()
        state = state_of(model, optimizer, progress)
        if state is None:
            return
        self._running = self._pool.submit(self._write, state, progress.step)
        if not state.apart:
            self._tell()
            self._wait()

    def raise_failure(self) -> None:
        """Raise the error of a write that has failed by now."""
        if self._running and self._running.done():
            self._wait()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The process stops, or the folder is removed, only when the last one is whole.
        self._pool.shutdown()
        if error is None:
            self._wait()
        elif self._running and (failure := self._running.exception()):
            logger.warning("%s: the last checkpoint was not written: %s", self._stage.name, in_a_sentence(failure))

    def _wait(self) -> None:
        running, self._running = self._running, None
        if running:
            running.result()

    def _write(self, state: State, step: int) -> None:
        stage = self._stage
        state.ready()
        save_checkpoint(stage.checkpoints, state)
        keep_newest(stage.checkpoints, stage.settings.keep_checkpoints)
        if ends_stable_phase(stage, step):
            _keep(stage, step)

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            what = "main memory has no room for a copy of its checkpoints"
            logger.info("%s: %s, so it waits while they are written.", self._stage.name, what)


def _keep(stage: Stage, step: int) -> None:
    """Keep the checkpoint that was just written, to make the training longer one day."""
    if stage.stable is not None:
        name = checkpoint_name(step)
        with atomic_write(stage.stable) as partial:
            shutil.copytree(stage.checkpoints / name, partial / name)
            note_course(stage, step, partial)
