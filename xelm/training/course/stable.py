"""A training that is made longer: the checkpoint at the end of the stable phase of `wsd`, from which it goes on.

Until the learning rate falls, a training does not know how long it is, so a longer one continues it as if it had been
that long from the beginning: the same blocks in the same order (`xelm.corpus.draw.open_order`), the same rates, moments
and random numbers.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from xelm.training.checkpoint import newest_step
from xelm.training.stage import Stage

_COURSE = "course.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """The stable phase of a shorter training, which a longer one continues."""

    step: int
    made: list[str]
    """Names of the checkpoint folders of the trainings that have gone this way, which tell their models."""
    warmup_steps: int
    """Over which the learning rate has risen."""

    def is_of(self, fingerprint: str) -> bool:
        """Whether a model with this fingerprint was made on the way."""
        return any(name.endswith(f"-{fingerprint[:12]}") for name in self.made)


def ends_stable_phase(stage: Stage, step: int) -> bool:
    """Whether a checkpoint after this step is kept, so that the training can be made longer."""
    return stage.stable is not None and 0 < step < stage.num_steps and step == stage.schedule().stable_steps


def note_course(stage: Stage, step: int, folder: Path) -> None:
    """Say beside the kept checkpoint how the training came there."""
    before = begun(stage)
    made = [*(before.made if before else []), stage.checkpoints.name]
    course = {"step": step, "draws": _draws(stage, step), "warmup_steps": stage.schedule().warmup}
    write_json(folder / _COURSE, {**course, "made": list(dict.fromkeys(made))})


def begun(stage: Stage) -> Begun | None:
    """The kept phase with which this training begins; None if there is none, or this one is too short for it."""
    if stage.stable is None or not (stage.stable / _COURSE).is_file():
        return None
    try:
        course: dict[str, Any] = read_json(stage.stable / _COURSE)
        found = Begun(int(course["step"]), list(map(str, course["made"])), int(course["warmup_steps"]))
        draws = course["draws"]
    except (BadInput, KeyError, TypeError, ValueError):
        return None
    fits = found.step == newest_step(stage.stable) and found.step <= stage.schedule().stable_steps
    return found if fits and draws == _draws(stage, found.step) else None


def tell(stage: Stage, found: Begun) -> None:
    """Say where a training goes on, and whether it equals one made at once."""
    logger.info("%s: goes on from step %d, where its learning rate had not begun to fall.", stage.name, found.step)
    if found.warmup_steps != stage.schedule().warmup:
        logger.warning(
            "%s: its learning rate rose over %d steps, and would over %d in a training made at once, so the two are "
            "not the same. Set [train] warmup_steps to keep a warm-up that does not depend on the length.",
            *(stage.name, found.warmup_steps, stage.schedule().warmup),
        )


def _draws(stage: Stage, step: int) -> str:
    size, order = step * stage.settings.batch_size, stage.order
    parts = (np.ascontiguousarray(values[:size], dtype=np.int64).tobytes() for values in (order.language, order.block))
    return hashlib.sha256(b"".join(parts)).hexdigest()
