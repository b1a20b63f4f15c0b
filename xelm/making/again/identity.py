"""Fingerprints of everything that decides a model's weights, and earlier fingerprints that mean the same model.

A setting of the engine (how many blocks a pass takes, in what precision it is computed) changes a result only by
rounding, as another machine does, so it is no part of a model's identity. Earlier versions wrote these settings into
the fingerprints, so a model has several: today's, and those that earlier versions would have given it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from xelm.recipe.recipe import Data, Train
from xelm.run.records.manifest import Manifest

ENGINE = ("micro_batch_size", "gradient_checkpointing", "precision", "compile")
"""[train] keys that say how a training is computed."""
_BESIDE = (
    "tokens",
    "share",
    "dense",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "evaluate_every_steps",
    "log",
    "loss",
)
"""[train] keys that do not change the weights of a model of a given number of steps."""
_DATA_BESIDE = ("path", "languages", "heldout_bytes", "pairs")
_EVER = frozenset(
    (
        *("batch_size", "clip_norm", "compile", "enters", "final_sampling_temperature", "gradient_checkpointing"),
        *("learning_rate", "mask_rates", "max_epochs", "micro_batch_size", "min_learning_rate_ratio", "objective"),
        *("precision", "sampling", "sampling_temperature", "schedule", "seed", "sequence_length", "warmup_fraction"),
        "weight_decay",
    )
)
"""[train] keys that are in every fingerprint; a key that was added later is in it only if it is set."""


def weights_settings(train: Train, reading: Data, engine: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys of `[train]` and `[data]` that decide the weights of a model, given its text and number of steps.

    Args:
        train: The `[train]` section.
        reading: The `[data]` section.
        engine: Settings of the engine to include, as earlier versions did; None: the default of each.
    """
    defaults = {item.name: item.default for item in dataclasses.fields(Train)}
    settings = dataclasses.asdict(train)
    kept = {k: v for k, v in settings.items() if k in _EVER or (k not in _BESIDE and v != defaults[k])}
    of_data = {key: value for key, value in reading.settings().items() if key not in _DATA_BESIDE}
    return kept | {key: defaults[key] for key in ENGINE} | dict(engine or {}) | of_data


def former_engines(train: Train, recorded: Manifest | None) -> list[dict[str, Any]]:
    """Settings of the engine that earlier versions may have written into this run's fingerprints: today's, and those
    that the run's manifest has."""
    tables = [dataclasses.asdict(train)]
    if recorded is not None:
        tables.append(recorded.recipe.get("train", {}))
    return [{key: table[key] for key in ENGINE if key in table} for table in tables]


def changes(recipe: Mapping[str, Any], recorded: Manifest, texts: Mapping[str, str]) -> list[str]:
    """Say which of a run's recorded inputs differ from today's; those that change no model are left out.

    Args:
        recipe: Today's, as the manifest keeps it (`xelm.making.portable.portable_recipe`).
        recorded: The run's manifest.
        texts: Per language, the fingerprint of its text.
    """
    then, now = dict(_flat(recorded.recipe)), dict(_flat(recipe))
    found = [
        f"[{section}] {key} was {_shown(value)} and is {_shown(now.get((section, key)))}"
        for (section, key), value in sorted(then.items())
        if (section, key) in now and not _same(value, now[section, key]) and not _is_beside(section, key)
    ]
    changed = [code for code in sorted(texts) if recorded.data.get(code, {}).get("sha256") not in (None, texts[code])]
    if changed:
        found.append(f"the text of {', '.join(changed)} is another")
    for what, codes in (("new", set(texts) - set(recorded.data)), ("no longer there", set(recorded.data) - set(texts))):
        if codes and recorded.data:
            found.append(f"the text of {', '.join(sorted(codes))} is {what}")
    return found


def _flat(table: Mapping[str, Any], section: str = "") -> Iterator[tuple[tuple[str, str], Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and key != "enters":
            yield from _flat(value, f"{section}.{key}".lstrip("."))
        else:
            yield (section, key), list(value) if isinstance(value, tuple) else value


def _same(then: Any, now: Any) -> bool:
    # A path is kept as it was written, which may have been in another folder.
    paths = isinstance(then, str) and isinstance(now, str) and ("/" in then or "/" in now)
    return Path(then).name == Path(now).name if paths else bool(then == now)


def _is_beside(section: str, key: str) -> bool:
    if section == "train":
        return key in ENGINE or (key in _BESIDE and key not in ("tokens", "share"))
    return (section == "data" and key in _DATA_BESIDE) or (section, key) == ("base", "attn_implementation")


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def recorded_manifest(run: Path) -> Manifest | None:
    """The manifest of a run; None if it has none that can be read."""
    try:
        return Manifest.read(run)
    except BadInput:
        return None
