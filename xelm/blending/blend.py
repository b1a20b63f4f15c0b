"""`blend`: move a run's experts part of the way back to the base, so that they keep more of what it knew."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from clustering.errors import BadInput, arg
from xelm.adding.add import local_folder, whole_run
from xelm.blending.choose import LOSE, choose_keeps
from xelm.blending.overlay import lay_on, take_off
from xelm.evaluation.log_probs import forget_stale
from xelm.run.experts import ExpertSet
from xelm.run.failures import disk_failure_reported
from xelm.run.lock import locked
from xelm.run.transaction import edited

logger = logging.getLogger(__name__)


def blend(
    run: str | Path, *, keep: float | Mapping[str, float] | Literal["auto"] = "auto", lose: float = LOSE
) -> ExpertSet:
    """Move the experts of a finished run part of the way back to the base: base + λ (expert - base).

    An expert that gains a few percent on its own languages loses far more on all others. If it is moved back by a
    quarter of the way, most of the gain stays and half of the loss disappears, without training. λ always counts from
    the trained expert: blending again starts from it, and λ = 1 undoes all, to the byte. Base and dense baseline do not
    change. The trained experts are kept under `trained/`; additions start from them. The run is evaluated again.

    Args:
        run: The run directory.
        keep: λ, above 0 and up to 1, for all experts or by name (others: 1); `auto` chooses it for each expert on
            valid text: least cost elsewhere within the loss of own gain that `lose` allows.
        lose: For `auto`: share of an expert's own gain that may be lost, above 0 and below 1.

    Returns:
        The run; entries of its manifest's experts hold λ as `keep` (None: 1).

    Raises:
        BadInput: If λ or `lose` is out of range, an expert is unknown or cannot be moved, the run is not whole, or it
            has no valid text for `auto` to choose on.
    """
    _check(keep, lose)
    folder = local_folder(run)
    with disk_failure_reported(folder), locked(folder):
        experts = whole_run(folder)
        keeps = _keeps(experts, keep, lose)
        if keeps != {name: experts.manifest.experts[name].keep or 1.0 for name in experts.names}:
            with edited(folder) as shadow:
                take_off(shadow)
                lay_on(shadow, keeps)
        experts = ExpertSet.load(folder)
        forget_stale(experts)
    return experts


def _check(keep: float | Mapping[str, float] | str, lose: float) -> None:
    if isinstance(keep, str) and keep != "auto":
        raise BadInput(f"{arg('keep', keep)}: give a number above 0 and up to 1, or auto.")
    values = keep.values() if isinstance(keep, Mapping) else () if isinstance(keep, str) else (keep,)
    for value in values:
        if not 0 < value <= 1:  # also refuses NaN
            raise BadInput(
                f"{arg('keep', value)}: λ is how much of the way from the base to the expert is kept, above 0 and up "
                "to 1 (1: the expert as it was trained)."
            )
    if not 0 < lose < 1:
        raise BadInput(f"{arg('lose', lose)} is a share of an expert's own gain: choose above 0 and below 1.")


def _keeps(experts: ExpertSet, keep: float | Mapping[str, float] | str, lose: float) -> dict[str, float]:
    trained = experts.trained()
    moved = [name for name, entry in trained.manifest.experts.items() if entry.keep is not None]
    if moved:
        raise BadInput(
            f"{experts.path}: {moved[0]} was moved back to the base before, and this run does not hold the trained "
            "weights. Blend the run that it was saved from."
        )
    if isinstance(keep, Mapping):
        unknown = [name for name in keep if name not in experts.names]
        if unknown:
            raise BadInput(f"no expert '{unknown[0]}'. There are: {', '.join(experts.names)}.")
        return {name: float(keep.get(name, 1.0)) for name in experts.names}
    if isinstance(keep, str):
        return choose_keeps(trained, lose=lose)
    return {name: float(keep) for name in experts.names}
