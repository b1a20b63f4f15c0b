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
from xelm.blending.moved import Moved, Rows
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
_WITH_ROWS = "unread rows"
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
    rows: Rows = dataclasses.field(default_factory=Rows)
    """Rows of the vocabulary that are put back at every λ, `_WITH_ROWS` being 1."""

    def at(self, keep: float) -> Any:
        """The key of `nats` for a λ that is to be chosen."""
        return _WITH_ROWS if self.rows.ids and keep == 1 else keep

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


def choose_moves(
    trained: ExpertSet, *, lose: float = LOSE, unread: Mapping[str, Rows] | None = None
) -> dict[str, Moved]:
    """Choose λ for each expert, and whether the rows of pieces that it never read are put back.

    The rows are put back where that saves more of the cost elsewhere for what it takes of the own gain than the first
    step of λ does; λ is chosen with them. Experts are measured on valid text at λ = 0.9, 0.8, … until all have lost too
    much of their own gain; between these their curves are interpolated. The share of its gain that an expert keeps is
    an estimate from few documents, and the experts of one run differ little. So the median of all replaces each share
    that does not clearly differ from it, and it must stay above 1 - `lose` by a margin for chance (`_lower`).

    Args:
        trained: The run as it was trained.
        lose: Share of own gain that may be lost.
        unread: Expert -> rows that may be put back (`xelm.blending.unread`).

    Returns:
        Expert -> how to move it; as trained if it gains nothing on its own languages or has no valid text of them.

    Raises:
        BadInput: If the run has no valid text.
    """
    if not trained.heldout("valid"):
        raise BadInput(f"{trained.path}: no valid text in this run to choose λ on. Name it: {arg('keep', 0.75)}.")
    experts, moves = measured(trained), dict.fromkeys(trained.names, Moved())
    for name in [name for name, expert in experts.items() if not expert.own or expert.gain(1.0) <= 0]:
        why = "gains nothing on them" if experts[name].own else "there is none"
        logger.warning("%s stays as it was trained: on valid text of its languages %s.", name, why)
        del experts[name]
    steps, bound = [1.0], 1 - lose
    _try_rows(trained, experts, unread or {}, bound)
    while experts and steps[-1] > _STEP * 1.5 and (len(steps) < 3 or _any_above(experts, steps[-1], bound)):
        steps.append(round(steps[-1] - _STEP, 2))
        _measure(trained, experts, steps[-1])
    keeps = _within(experts, steps, bound)
    return moves | {name: Moved(keep).with_rows(experts[name].rows) for name, keep in keeps.items()}


def _try_rows(trained: ExpertSet, experts: Mapping[str, Measured], unread: Mapping[str, Rows], bound: float) -> None:
    """Give experts the rows that are worth putting back."""
    for name, expert in experts.items():
        if name not in unread or not unread[name].ids:
            continue
        first = 1 - _STEP
        _measure(trained, {name: expert}, first)
        expert.rows = unread[name]
        _measure(trained, {name: expert}, 1.0)
        if not _better(expert, first, bound):
            expert.rows = Rows()
        else:
            del expert.nats[first]  # measured without the rows


def _better(expert: Measured, first: float, bound: float) -> bool:
    """Whether the rows save more cost for the gain that they take than the first step of λ."""
    share, error = expert.kept(_WITH_ROWS)
    saved, saved_first = (expert.cost(1.0) - expert.cost(at) for at in (_WITH_ROWS, first))
    taken, taken_first = (max(0.0, 1 - expert.kept(at)[0]) for at in (_WITH_ROWS, first))
    return share - error >= bound and saved > 0 and saved * taken_first >= saved_first * taken


def _any_above(experts: Mapping[str, Measured], keep: float, bound: float) -> bool:
    return any(expert.kept(expert.at(keep))[0] >= bound for expert in experts.values())


def _within(experts: Mapping[str, Measured], steps: Sequence[float], bound: float) -> dict[str, float]:
    """The λ of least cost whose share of the gain is clearly above the bound."""
    from scipy.interpolate import PchipInterpolator

    errors = 2.0 if any(expert.rows.ids for expert in experts.values()) else 1.0  # there is room to be surer
    lower = {step: _lower({n: e.kept(e.at(step)) for n, e in experts.items()}, errors) for step in steps}
    at = [0.0, *reversed(steps)]
    fine = np.round(np.arange(steps[-1], 1 + _FINE / 2, _FINE), 2)
    keeps = {}
    for name, expert in experts.items():
        shares = PchipInterpolator(at, [0.0, *(lower[step][name] for step in reversed(steps))])(fine)
        costs = PchipInterpolator(at, [0.0, *(expert.cost(expert.at(step)) for step in reversed(steps))])(fine)
        allowed = (shares >= bound) | (fine == 1)
        keeps[name] = float(fine[allowed][np.argmin(costs[allowed])])
    return keeps


def _lower(kept: Mapping[str, tuple[float, float]], errors: float = 1.0) -> dict[str, float]:
    """The share that each expert keeps at least: the median, or its own share if that clearly differs, less a margin.

    The margin is one standard error of a prediction (or more): of the share on as much other text, √2 times that of the
    estimate, and never less than is usual among the experts.

    Args:
        kept: Expert -> share of its own gain that is kept, and the standard error.
        errors: How many standard errors.
    """
    share_E, error_E = np.array(list(kept.values())).T
    another_E = np.abs(share_E - np.median(share_E)) > _SURELY * np.sqrt(2) * error_E
    margin_E = errors * np.sqrt(2) * error_E
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
    logger.info("blend: measuring λ = %.2f of %s on valid text", keep, ", ".join(experts))
    how = {name: Moved(keep).with_rows(expert.rows) for name, expert in experts.items()}
    entries = {name: dataclasses.replace(trained.manifest.experts[name], **how[name].fields) for name in experts}
    manifest = dataclasses.replace(trained.manifest, experts=trained.manifest.experts | entries)
    moved = dataclasses.replace(trained, manifest=manifest, overlay=_OVERLAY)
    try:
        for name, expert in experts.items():
            target = Path(place, model_path(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            make_moved(trained, name, trained.folder(name), target, how[name])
            expert.nats[expert.at(keep)] = _nats(moved, name)
            shutil.rmtree(target)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _nats(experts: ExpertSet, name: str) -> Nats:
    rows: dict[str, list[float]] = {}
    log_probs = heldout_log_probs(experts, name, "valid", keep=True)
    for document, log_probs_T in zip(experts.heldout("valid"), log_probs, strict=True):
        rows.setdefault(document.language, []).append(-float(log_probs_T.sum(dtype=np.float64)))
    return {code: np.array(values) for code, values in rows.items()}
