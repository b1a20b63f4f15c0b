"""Choose how far each expert is moved back: least cost elsewhere within a given loss of own gain, on valid text."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput, arg
from xelm.blending.moved import Moved
from xelm.blending.overlay import make_moved
from xelm.evaluation.log_probs import heldout_log_probs
from xelm.run.experts import ExpertSet
from xelm.run.folder import model_path
from xelm.run.names import BASE

LOSE = 0.1
"""Default share of the own gain that may be lost."""
_STEP = 0.1
_FINE = 0.01
_RESAMPLES = 300
_SURELY = 3.0
"""Standard errors of a prediction from which on an expert's share counts as different from the others'."""
_OVERLAY = "work/blend"
Nats = dict[str, np.ndarray]
"""Language -> nats of each document, shape (D,)."""
logger = logging.getLogger(__name__)


@dataclass
class Measured:
    """One expert on valid text, at every λ that was measured."""

    own: list[str]
    base: Nats
    nats: dict[Any, Nats]
    """λ, or the layers that are put back -> the losses; 1: as trained."""

    def changes(self, keep: Any, codes: Sequence[str]) -> float:
        """Mean change of the loss against the base over languages, as a share; negative is better."""
        return float(np.mean([self.nats[keep][c].sum() / self.base[c].sum() - 1 for c in codes]))

    def gain(self, keep: Any) -> float:
        """The same on its own languages, as a gain."""
        return -self.changes(keep, self.own)

    def cost(self, keep: Any) -> float:
        """The same on all other languages."""
        elsewhere = [code for code in self.base if code not in self.own]
        return self.changes(keep, elsewhere) if elsewhere else 0.0

    def kept(self, keep: Any) -> tuple[float, float]:
        """Share of the own gain that is kept, and its standard error over documents (paired bootstrap)."""
        rng, draws = np.random.default_rng(0), np.zeros((2, _RESAMPLES))
        for code in self.own:
            base_D = self.base[code]
            picks_RD = rng.integers(len(base_D), size=(_RESAMPLES, len(base_D)))
            of_base_R = base_D[picks_RD].sum(axis=1)
            for row, at in enumerate((keep, 1.0)):
                draws[row] += 1 - self.nats[at][code][picks_RD].sum(axis=1) / of_base_R
        share = self.gain(keep) / self.gain(1.0)
        return share, float(np.std(draws[0] - share * draws[1]) / abs(draws[1].mean()))


def choose_keeps(trained: ExpertSet, *, lose: float = LOSE) -> dict[str, float]:
    """Choose λ for each expert.

    Experts are measured on valid text at λ = 0.9, 0.8, … until all have lost too much of their own gain; between these
    their curves are interpolated. The share of its gain that an expert keeps is an estimate from few documents, and the
    experts of one run differ little. So the median of all replaces each share that does not clearly differ from it, and
    it must stay above 1 - `lose` by a margin for chance (`_lower`).

    Args:
        trained: The run as it was trained.
        lose: Share of own gain that may be lost.

    Returns:
        Expert -> λ; 1 for an expert that gains nothing on its own languages, or without valid text of them.

    Raises:
        BadInput: If the run has no valid text.
    """
    if not trained.heldout("valid"):
        raise BadInput(f"{trained.path}: no valid text in this run to choose λ on. Name it: {arg('keep', 0.75)}.")
    experts, keeps = measured(trained), dict.fromkeys(trained.names, 1.0)
    for name in [name for name, expert in experts.items() if not expert.own or expert.gain(1.0) <= 0]:
        why = "gains nothing on them" if experts[name].own else "there is none"
        logger.warning("%s stays as it was trained: on valid text of its languages %s.", name, why)
        del experts[name]
    steps, bound = [1.0], 1 - lose
    while experts and steps[-1] > _STEP * 1.5 and (len(steps) < 3 or _any_above(experts, steps[-1], bound)):
        steps.append(round(steps[-1] - _STEP, 2))
        _measure(trained, experts, steps[-1])
    return keeps | _within(experts, steps, bound)


def _any_above(experts: Mapping[str, Measured], keep: float, bound: float) -> bool:
    return any(expert.kept(keep)[0] >= bound for expert in experts.values())


def _within(experts: Mapping[str, Measured], steps: Sequence[float], bound: float) -> dict[str, float]:
    """The λ of least cost whose share of the gain is clearly above the bound."""
    from scipy.interpolate import PchipInterpolator

    lower = {step: _lower({n: e.kept(step) for n, e in experts.items()}) for step in steps}
    at = [0.0, *reversed(steps)]
    fine = np.round(np.arange(steps[-1], 1 + _FINE / 2, _FINE), 2)
    keeps = {}
    for name, expert in experts.items():
        shares = PchipInterpolator(at, [0.0, *(lower[step][name] for step in reversed(steps))])(fine)
        costs = PchipInterpolator(at, [0.0, *(expert.cost(step) for step in reversed(steps))])(fine)
        allowed = (shares >= bound) | (fine == 1)
        keeps[name] = float(fine[allowed][np.argmin(costs[allowed])])
    return keeps


def _lower(kept: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The share that each expert keeps at least: the median, or its own share if that clearly differs, less a margin.

    The margin is one standard error of a prediction: of the share on as much other text, √2 times that of the
    estimate, and never less than is usual among the experts.

    Args:
        kept: Expert -> share of its own gain that is kept, and the standard error.
    """
    share_E, error_E = np.array(list(kept.values())).T
    margin_E = np.sqrt(2) * error_E
    another_E = np.abs(share_E - np.median(share_E)) > _SURELY * margin_E
    usual = np.median(margin_E)
    lower_E = np.where(another_E, share_E - np.maximum(margin_E, usual), np.median(share_E) - usual)
    return dict(zip(kept, lower_E.tolist(), strict=True))


def measured(trained: ExpertSet) -> dict[str, Measured]:
    """The base and every expert as it was trained, on valid text."""
    base = _nats(trained, BASE)
    return {
        name: Measured(
            [code for code in base if trained.plan.cluster_of(code) == name], base, {1.0: _nats(trained, name)}
        )
        for name in trained.names
    }


def _measure(trained: ExpertSet, experts: Mapping[str, Measured], keep: float) -> None:
    place = trained.path / _OVERLAY
    shutil.rmtree(place, ignore_errors=True)
    logger.info("blend: measuring λ = %.2f on valid text", keep)
    entries = {name: dataclasses.replace(entry, keep=keep) for name, entry in trained.manifest.experts.items()}
    moved = dataclasses.replace(
        trained, manifest=dataclasses.replace(trained.manifest, experts=entries), overlay=_OVERLAY
    )
    try:
        for name, expert in experts.items():
            target = Path(place, model_path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            make_moved(trained, name, trained.folder(name), target, Moved(keep))
            expert.nats[keep] = _nats(moved, name)
            shutil.rmtree(target)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _nats(experts: ExpertSet, name: str) -> Nats:
    rows: dict[str, list[float]] = {}
    log_probs = heldout_log_probs(experts, name, "valid", keep=True)
    for document, log_probs_T in zip(experts.heldout("valid"), log_probs, strict=True):
        rows.setdefault(document.language, []).append(-float(log_probs_T.sum(dtype=np.float64)))
    return {code: np.array(values) for code, values in rows.items()}
