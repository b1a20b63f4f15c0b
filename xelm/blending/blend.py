"""`blend`: move a run's experts part of the way back to the base, so that they keep more of what it knew."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from clustering.errors import BadInput, arg
from xelm.adding.add import local_folder, whole_run
from xelm.blending.choose import LOSE, choose_moves
from xelm.blending.moved import Moved, Rows, moved_of
from xelm.blending.overlay import lay_on, take_off
from xelm.blending.put_back import choose_put_back
from xelm.blending.unread import find_unread
from xelm.evaluation.log_probs import forget_stale
from xelm.models.interpolation import tensor_names
from xelm.models.layer_groups import check_selectors
from xelm.run.experts import ExpertSet
from xelm.run.failures import disk_failure_reported
from xelm.run.lock import locked
from xelm.run.transaction import edited

logger = logging.getLogger(__name__)


def blend(
    run: str | Path,
    *,
    keep: float | Mapping[str, float] | Literal["auto"] = "auto",
    lose: float = LOSE,
    put_back: Mapping[str, Sequence[str]] | Literal["auto"] | None = None,
    unread: bool | None = None,
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
        lose: Where λ or layers are chosen: share of an expert's own gain that may be lost, above 0 and below 1.
        unread: Whether the rows of the vocabulary that stand for pieces which an expert never read become the base's
            again. None: with `auto` where that saves more of the cost elsewhere than λ alone, and otherwise not.
        put_back: Instead of a share of the whole way: layers by expert whose weights are the base's again
            (`xelm.models.layer_groups`); `auto` chooses them on valid text, the least missed first. None: no layer.

    Returns:
        The run; entries of its manifest's experts hold λ as `keep` (None: 1) and the layers as `put_back`.

    Raises:
        BadInput: If λ or `lose` is out of range, an expert is unknown or cannot be moved, the run is not whole, or it
            has no valid text for `auto` to choose on, or no longer the text that shows which pieces were read.
    """
    _check(keep, lose)
    if put_back is not None and keep != "auto":
        raise BadInput("keep moves an expert as a whole, put_back some of its layers: give one of the two.")
    folder = local_folder(run)
    with disk_failure_reported(folder), locked(folder):
        experts = whole_run(folder)
        trained = _trained(experts)
        rows = _rows(trained, unread, chosen=keep == "auto" and put_back is None)
        if put_back is not None:
            moved = {name: Moved(1.0, layers) for name, layers in _layers(trained, put_back, lose).items()}
        elif keep == "auto" and unread is None:
            moved, rows = choose_moves(trained, lose=lose, unread=rows), {}
        else:
            moved = {name: Moved(share) for name, share in _keeps(trained, keep, lose).items()}
        moved |= {name: moved[name].with_rows(own) for name, own in rows.items()}
        if moved != {name: Moved.of(experts.manifest.experts[name]) for name in experts.names}:
            with edited(folder) as shadow:
                take_off(shadow)
                lay_on(shadow, moved)
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


def _trained(experts: ExpertSet) -> ExpertSet:
    trained = experts.trained()
    moved = list(moved_of(trained.manifest.experts))
    if moved:
        raise BadInput(
            f"{experts.path}: {moved[0]} was moved back to the base before, and this run does not hold the trained "
            "weights. Blend the run that it was saved from."
        )
    return trained


def _keeps(trained: ExpertSet, keep: float | Mapping[str, float] | str, lose: float) -> dict[str, float]:
    if isinstance(keep, Mapping):
        _refuse_unknown(trained, keep)
        return {name: float(keep.get(name, 1.0)) for name in trained.names}
    if isinstance(keep, str):
        return {name: one.keep for name, one in choose_moves(trained, lose=lose).items()}
    return {name: float(keep) for name in trained.names}


def _rows(trained: ExpertSet, unread: bool | None, *, chosen: bool) -> dict[str, Rows]:
    """Expert -> rows of pieces that it never read, for those that have rows of their own."""
    if unread is False or (unread is None and not chosen):
        return {}
    names = [name for name in trained.names if not trained.kind(name).shares_base]
    try:
        return {name: find_unread(trained, name) for name in names}
    except BadInput as error:
        if unread:
            raise
        logger.warning("%s Their rows are left as they are.", error)
        return {}


def _layers(trained: ExpertSet, put_back: Mapping[str, Sequence[str]] | str, lose: float) -> dict[str, tuple[str, ...]]:
    if isinstance(put_back, Mapping):
        _refuse_unknown(trained, put_back)
        for name, layers in put_back.items():
            check_selectors(layers, tensor_names(trained.folder(name)), f"put_back of {name}")
        return {name: tuple(put_back.get(name, ())) for name in trained.names}
    if put_back != "auto":
        raise BadInput(f"{arg('put_back', put_back)}: give layers by expert, or auto.")
    return choose_put_back(trained, lose=lose)


def _refuse_unknown(trained: ExpertSet, names: Iterable[str]) -> None:
    unknown = [name for name in names if name not in trained.names]
    if unknown:
        raise BadInput(f"no expert '{unknown[0]}'. There are: {', '.join(trained.names)}.")
