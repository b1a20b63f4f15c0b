"""The models of a run, loaded onto their device on first use; LoRA experts share one base in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from clustering.errors import BadInput, arg
from xelm.expert_kinds.kind import ExpertKind
from xelm.inference.files import check_model
from xelm.run.experts import ExpertSet
from xelm.run.model_files import refuse_names_that_leave
from xelm.run.names import BASE, is_base

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """On which device models are loaded, and how many of them are kept in memory."""

    device: str = "auto"
    """The device of the models: `cpu`, `cuda`, `cuda:1`, …; `auto` takes a GPU if there is one."""
    device_map: Any = None
    """As for transformers' `from_pretrained` (`auto`, `balanced`, a mapping of modules), instead of `device`."""
    dtype: Any = "auto"
    """Type of the weights: `bfloat16`, `float32`, …; `auto` keeps that of the checkpoint."""
    max_loaded: int | None = None
    """Most experts in memory at a time, at least 1; LoRA experts share a base and do not count. None: no limit."""
    max_bytes: int | None = None
    """Largest number of bytes of experts in memory; one expert is always allowed. None: no limit."""
    check_files: bool = True
    """Whether a model's files are compared with the manifest while it is loaded."""


def open_models(experts: ExpertSet, names: Sequence[str], placement: Placement) -> Any:
    """The models of a run by name, loaded when they are first needed.

    Args:
        experts: The run.
        names: The experts, and the base.
        placement: Device, type and limits of the models.

    Returns:
        An `ExpertPool`, or experts on one base in memory (`ExpertKind.serve`).

    Raises:
        BadInput: If the device or the dtype cannot be had, or the shared base cannot be loaded.
    """
    options = load_options(placement)
    kind = _sharing_kind(experts, names)
    if kind is not None:
        others = [name for name in names if not is_base(name)]
        for name in others:
            refuse_names_that_leave(experts.path, experts.folder(name))
            if placement.check_files:
                check_model(experts, name)
        apart = _apart(experts, others, kind)
        if not apart:
            base = load_checked(experts, BASE, options, check=placement.check_files)
            return kind.serve(base, {name: None if is_base(name) else experts.folder(name) for name in names})
        logger.warning("Each expert is loaded with a base of its own, because of %s.", "; ".join(apart))
    from router.models.pool import ExpertPool

    return ExpertPool(
        {name: partial(load_checked, experts, name, options, check=placement.check_files) for name in names},
        max_loaded=placement.max_loaded,
        max_bytes=placement.max_bytes,
    )


def load_options(placement: Placement) -> dict[str, Any]:
    """The options that `from_pretrained` of transformers gets.

    Raises:
        BadInput: If the device or the dtype cannot be had.
    """
    import torch

    device_map = placement.device_map if placement.device_map is not None else _device(placement.device)
    dtype = placement.dtype
    if isinstance(dtype, str) and dtype != "auto":
        dtype = getattr(torch, dtype, None)
    if dtype != "auto" and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise BadInput(f"{arg('dtype', placement.dtype)} is unknown: choose auto, float32, bfloat16 or float16.")
    return {"device_map": device_map, "dtype": dtype}


def load_checked(experts: ExpertSet, name: str, options: dict[str, Any], *, check: bool) -> Any:
    """Load a model of the run. Its checksums are computed while it loads: they need the same bytes and another core.

    Raises:
        BadInput: If a file is missing, changed or unreadable.
    """
    if not check:
        return experts.load_model(name, **options)
    with ThreadPoolExecutor(1) as beside:
        checked = beside.submit(check_model, experts, name)
        try:
            model = experts.load_model(name, **options)
        except BadInput:
            checked.result()  # a damaged file explains the failure better
            raise
        checked.result()
    return model


def _sharing_kind(experts: ExpertSet, names: Sequence[str]) -> type[ExpertKind] | None:
    kinds = [experts.kind(name) for name in names if not is_base(name)]
    return next((kind for kind in kinds if kind.shares_base), None) if len(names) > 1 else None


def _apart(experts: ExpertSet, names: Sequence[str], kind: type[ExpertKind]) -> list[str]:
    """The experts that cannot be served on the base that experts of a kind share, each with the reason."""
    found = []
    for name in names:
        own = experts.kind(name)
        reason = kind.cannot_share(experts.folder(name)) if own is kind else f"of the kind {own.name()}"
        if reason:
            found.append(f"{name} ({reason})")
    return found


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput(f"{arg('device', device)} cannot be used here: {reason} Choose cpu, or auto.") from None
    return device
