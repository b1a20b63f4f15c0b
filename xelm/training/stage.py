"""One training to be done, and its results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import DrawOrder
from xelm.objectives.causal import CausalBatches
from xelm.objectives.objective import Batch, Batches
from xelm.recipe.recipe import Train
from xelm.training.batches import gather, gather_judged, sequence_length
from xelm.training.course.schedule import Schedule


@dataclass(frozen=True)
class Stage:
    """One training to be done: the base, an expert or the dense baseline."""

    name: str
    order: DrawOrder
    blocks: Mapping[str, Blocks]
    learning_rate: float
    settings: Train
    checkpoints: Path
    """Folder of its checkpoints while it runs."""
    batches: Batches = field(default_factory=CausalBatches)
    """Turns blocks into inputs and labels."""
    valid: Mapping[str, Blocks] = field(default_factory=dict)
    """Held-out text of its languages, for `evaluate_every_steps`."""
    log_folder: Path | None = None
    """Folder for `[train] log`; None: it writes nothing."""
    anchor: Mapping[str, float] = field(default_factory=dict)
    """Selector of weights (`xelm.models.layer_groups`) -> strength of the pull to where they start."""
    hold_unread: bool = False
    """Whether rows of the vocabulary whose pieces are not in `blocks` stay as they are."""
    rows_rate: Callable[[], float] | None = None
    """The learning rate of the vocabulary's rows where some were never trained, asked for once the first weights are
    there; None: that of the other weights."""
    stable: Path | None = None
    """Folder of the checkpoint from which the training can be made longer (`xelm.training.course.stable`); None: it
    cannot."""
    pause_at: int | None = None
    """Optimizer steps after which it stops with a checkpoint, to be continued or given up; None: at its end."""

    def batch(self, draws: np.ndarray, done: float) -> Batch:
        """The batch of some draws of its order, when `done` of the training is over."""
        batch = self.batches.batch(*gather(self.order, self.blocks, draws), draws, done)
        return only_judged(batch, gather_judged(self.order, self.blocks, draws))

    def valid_batch(self, code: str, draws: np.ndarray) -> Batch:
        """Some of the held-out blocks of a language."""
        blocks = self.valid[code]
        return only_judged(self.batches.batch(*blocks.take(draws), draws, 0.0), blocks.judged(draws))

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole training, by which the learning rate goes."""
        return len(self.order) // self.settings.batch_size

    @property
    def last_step(self) -> int:
        """The step after which it stops, at its end or before."""
        return self.num_steps if self.pause_at is None else min(self.num_steps, self.pause_at)

    def shortened(self, num_steps: int) -> Stage:
        """The same training ended after so many steps: it reads the same blocks up to there."""
        return replace(self, order=self.order.part(0, num_steps * self.settings.batch_size), pause_at=None)

    def after(self, done: int, spent: int) -> Stage:
        """The same training from its block `done` on, with `spent` blocks fewer than are left, in whole steps."""
        size = self.settings.batch_size
        end = done + (len(self.order) - done - spent) // size * size
        return replace(self, order=self.order.part(done, end))

    def in_small_steps(self, batch_size: int) -> Stage:
        """The same blocks in smaller steps at a constant rate, lower by the square root as is usual with Adam."""
        settings = replace(
            self.settings,
            batch_size=batch_size,
            micro_batch_size=None,
            schedule="constant",
            warmup_steps=0,
            evaluate_every_steps=None,
        )
        rate = self.learning_rate * math.sqrt(batch_size / self.settings.batch_size)
        return replace(self, settings=settings, learning_rate=rate, stable=None)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that an optimizer step reads, over all devices."""
        return self.settings.batch_size * sequence_length(self.blocks)

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole training."""
        return self.num_steps * self.tokens_per_step

    def schedule(self) -> Schedule:
        """The learning rates of its steps."""
        s = self.settings
        return Schedule(
            kind=s.schedule,
            peak=self.learning_rate,
            num_steps=self.num_steps,
            warmup_fraction=s.warmup_fraction,
            min_ratio=s.min_learning_rate_ratio,
            warmup_steps=s.warmup_steps,
        )


def only_judged(batch: Batch, judged_BT: np.ndarray | None) -> Batch:
    """The same with only the given tokens to predict; None: all of them."""
    if judged_BT is None:
        return batch
    found: Batch = batch.judging(judged_BT)  # type: ignore[attr-defined]  # the recipe refuses other objectives
    return found


@dataclass(frozen=True)
class Trained:
    """The results of a training beside the weights."""

    history: list[dict[str, float]]
    tokens: int
    isolation: str
    """`attention`: documents of a block did not see each other; `loss`: only their boundaries carry no loss."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """`step`, `tokens`, `valid_loss` {language: nats per token}, if the recipe asks for them."""
    went_on: dict[str, int] | None = None
    """`step` at which it continued a shorter training, and the `warmup_steps` of that one; None: it did not."""
