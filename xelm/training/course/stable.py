"""A training that is made longer: the checkpoint at the end of the stable phase of `wsd`, from which it goes on.

Until the learning rate falls, a training does not know how long it is, so a longer one continues it as if it had been
that long from the beginning: the same blocks in the same order (`xelm.corpus.draw.open_order`), the same rates, moments
and random numbers.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
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
class Part:
    """A training that went through a stable phase."""

    name: str
    """Name of the folder of its checkpoints, which tells its model."""
    step: int
    """Steps until its learning rate began to fall."""
    warmup_steps: int
    """Over which the learning rate has risen."""


@dataclass(frozen=True)
class Begun:
    """A stable phase that was kept, and the trainings that have gone on in it, the shortest first."""

    parts: list[Part]

    @property
    def step(self) -> int:
        """Steps of the kept checkpoint."""
        return self.parts[-1].step

    def is_of(self, fingerprint: str) -> bool:
        """Whether a model with this fingerprint was made on the way."""
        return any(part.name.endswith(f"-{fingerprint[:12]}") for part in self.parts)

    def before(self, stage: Stage) -> Part | None:
        """The shorter training that this one continues; None if the phase is its own."""
        return next((part for part in reversed(self.parts) if part.name != stage.checkpoints.name), None)


def ends_stable_phase(stage: Stage, step: int) -> bool:
    """Whether a checkpoint after this step is kept, so that the training can be made longer."""
    return stage.stable is not None and 0 < step < stage.num_steps and step == stage.schedule().stable_steps


def note_course(stage: Stage, step: int, folder: Path) -> None:
    """Say beside the kept checkpoint how the training came there."""
    before = begun(stage)
    parts = [part for part in (before.parts if before else []) if part.name != stage.checkpoints.name]
    # The first of them had the warm-up.
    warmup_steps = parts[0].warmup_steps if parts else stage.schedule().warmup
    parts.append(Part(stage.checkpoints.name, step, warmup_steps))
    write_json(folder / _COURSE, {"draws": _draws(stage, step), "parts": [asdict(part) for part in parts]})


def begun(stage: Stage) -> Begun | None:
    """The kept phase with which this training begins; None if there is none, or this one is too short for it."""
    if stage.stable is None or not (stage.stable / _COURSE).is_file():
        return None
    try:
        course: dict[str, Any] = read_json(stage.stable / _COURSE)
        parts = [Part(str(p["name"]), int(p["step"]), int(p["warmup_steps"])) for p in course["parts"]]
        found, draws = Begun(parts), course["draws"]
        fits = found.step == newest_step(stage.stable) and found.step <= stage.schedule().stable_steps
    except (BadInput, IndexError, KeyError, TypeError, ValueError):
        return None
    return found if fits and draws == _draws(stage, found.step) else None


def tell(stage: Stage, part: Part) -> None:
    """Say where a training goes on, and whether it equals one made at once."""
    logger.info("%s: goes on from step %d, where its learning rate had not begun to fall.", stage.name, part.step)
    if part.warmup_steps != stage.schedule().warmup:
        logger.warning(
            "%s: its learning rate rose over %d steps, and would over %d in a training made at once, so the two are "
            "not the same. Set [train] warmup_steps to keep a warm-up that does not depend on the length.",
            *(stage.name, part.warmup_steps, stage.schedule().warmup),
        )


def _draws(stage: Stage, step: int) -> str:
    size, order = step * stage.settings.batch_size, stage.order
    parts = (np.ascontiguousarray(values[:size], dtype=np.int64).tobytes() for values in (order.language, order.block))
    return hashlib.sha256(b"".join(parts)).hexdigest()
