"""Trials of the likeliest starts: each is trained for a small part of the budget, and the best one goes on."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clustering.files import read_json, write_json
from xelm.adding.donors.plan import TrialPlan
from xelm.adding.donors.race import Standing, judge
from xelm.adding.donors.signals import BLIND_BITS
from xelm.evaluation.log_probs import measure
from xelm.making.make_model import Making, log_into
from xelm.run.experts import Document, ExpertSet
from xelm.run.records.ledger import DonorTrial
from xelm.run.records.manifest import fingerprint
from xelm.training.loop import train_stage
from xelm.training.stage import Stage

_PIECE = 128
"""Tokens of a piece of text, of which the standard error of a difference is taken."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trials:
    """What the trials came to."""

    winner: Making
    """The winner's training, which continues from its trial with all tokens that the others have left."""
    tried: list[DonorTrial]
    """Every start, the winner first."""


def hold_trials(
    makings: Mapping[str, Making], plan: TrialPlan, experts: ExpertSet, documents: Sequence[Document], log_file: Path
) -> Trials:
    """Train the starts side by side, look by look, until one is left.

    After an interruption the same call goes on where it stopped, with the same outcome to the bit on CPU.

    Args:
        makings: Start -> its training on the whole budget.
        plan: The steps in which they learn, and after which they are compared.
        experts: The run.
        documents: Held-out text of the new language to compare on.
        log_file: Where the training curves go.
    """
    starts = {name: _Start.of(name, making, plan, experts, documents, log_file) for name, making in makings.items()}
    looks = plan.looks
    num_bytes = sum(len(document.text.encode()) for document in documents)
    running, look = list(starts), 0
    for start in starts.values():
        start.read_at(0)
    while len(running) > 1:
        look += 1
        running = _read(starts, running, looks.steps[look])
        if len(running) == 1:
            break
        nats = {name: starts[name].nats for name in running}
        standing = judge(nats, look, looks, blind=BLIND_BITS * math.log(2) * num_bytes)
        for name in running:
            if name not in standing.staying:
                starts[name].give_up(standing)
        running = standing.staying
    winner = starts[running[0]]
    losers = sorted((s for s in starts.values() if s is not winner), key=lambda s: -s.steps)
    spent = sum(start.begun for start in losers) * plan.batch_size
    return Trials(winner.continued(spent), [start.told(num_bytes) for start in (winner, *losers)])


def _read(starts: Mapping[str, _Start], running: Sequence[str], step: int) -> list[str]:
    """Train and read the starts up to a step; one whose numbers overflow is out, unless it is the last."""
    alive = list(running)
    for name in running:
        try:
            starts[name].read_at(step)
        except FloatingPointError as error:
            if len(alive) == 1:
                raise
            logger.warning("%s is given up: %s", name, error)
            alive.remove(name)
    return alive


@dataclass
class _Start:
    """One start while it is tried."""

    name: str
    making: Making
    """Its training on the whole budget."""
    stage: Stage
    """Its trial."""
    read: Callable[[Any], np.ndarray]
    """Of a model: nats of each piece of text."""
    log_file: Path
    begun: int = 0
    """Optimizer steps that it was to take last; more than `steps` if its numbers overflowed."""
    steps: int = 0
    """Optimizer steps taken, and read after."""
    nats: list[np.ndarray] = field(default_factory=list)
    """After each look, the first before any training: nats of each piece of text."""
    looked: list[int] = field(default_factory=list)
    """Steps at these looks."""
    behind_percent: float | None = None
    """How far it was behind when it was given up, and the standard error of that."""
    error_percent: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        making: Making,
        plan: TrialPlan,
        experts: ExpertSet,
        documents: Sequence[Document],
        log_file: Path,
    ) -> _Start:
        assert making.stage
        key = fingerprint(making.entry.fingerprint, name, plan.looks.steps, plan.batch_size)
        work = making.folder.parent.with_name(f"{making.stage.name}-{key[:12]}")
        entry = replace(making.entry, fingerprint=key)
        stage = replace(
            making.stage.in_small_steps(plan.batch_size),
            name=f"{making.stage.name} from {name}",
            checkpoints=work / "trial",
        )
        whole = replace(making.stage, name=stage.name, checkpoints=work / "checkpoints")
        making = replace(making, folder=work / "expert", entry=entry, stage=whole)
        return cls(name, making, stage, lambda model: _pieces(measure(experts, model, documents)), log_file)

    def read_at(self, step: int) -> None:
        """Train up to a step, if that was not done before, and read the text."""
        self.begun = step
        file = self.making.folder.with_name(f"after-{step}.json")
        if not file.is_file():
            write_json(file, {"nats": self.read(self._model_at(step)).tolist()})
        self.nats.append(np.array(read_json(file)["nats"], dtype=np.float64))
        self.looked.append(step)
        self.steps = step

    def _model_at(self, step: int) -> Any:
        import torch

        torch.manual_seed(self.stage.settings.seed)
        model = self.making.parent()
        if step:
            train_stage(model, replace(self.stage, pause_at=step), log_into(self.log_file))
        return model.eval()

    def give_up(self, standing: Standing) -> None:
        """Remove its checkpoint; its figures stay."""
        shutil.rmtree(self.stage.checkpoints, ignore_errors=True)
        error = standing.errors[self.name]
        self.behind_percent = 100 * standing.behind[self.name]
        self.error_percent = 100 * error if math.isfinite(error) else None

    def continued(self, spent: int) -> Making:
        """Its training from here on, with the blocks of the budget that are left.

        Args:
            spent: Blocks that the other starts have read.
        """
        whole, step = self.making.stage, self.steps
        assert whole
        tried = self.stage.shortened(step)
        rest = whole.after(len(tried.order), spent)
        key = fingerprint(self.making.entry.fingerprint, step, rest.num_steps)
        entry = replace(self.making.entry, fingerprint=key)
        return replace(self.making, entry=entry, stage=rest, before=tried, parent=lambda: self._model_at(step))

    def told(self, num_bytes: int) -> DonorTrial:
        """What is recorded of it; `num_bytes`: of the text."""
        return DonorTrial(
            name=self.name,
            tokens=[step * self.stage.tokens_per_step for step in self.looked],
            bits_per_byte=[float(nats_P.sum()) / math.log(2) / max(1, num_bytes) for nats_P in self.nats],
            behind_percent=self.behind_percent,
            error_percent=self.error_percent,
        )


def _pieces(log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """Nats of each piece of at most `_PIECE` tokens, shape (P,)."""
    sums = [
        -float(log_probs_T[begin : begin + _PIECE].sum(dtype=np.float64))
        for log_probs_T in log_probs
        for begin in range(0, len(log_probs_T), _PIECE)
    ]
    return np.array(sums)
