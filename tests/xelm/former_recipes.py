"""Recipes whose models' fingerprints an earlier version wrote down (b3b3713): `former_fingerprints.json`."""

from __future__ import annotations

from typing import Any

LORA = {"kind": "lora", "rank": 2}
FORMER: dict[str, dict[str, Any]] = {
    "full": {},
    "full with keys of other kinds": {"expert": {"kind": "full", "rank": 4, "num_last_layers": 1}},
    "lora": {"expert": LORA},
    "lora with targets": {"expert": {**LORA, "targets": ["q_proj"], "alpha": 8}},
    "last_n_layers": {"expert": {"kind": "last_n_layers", "num_last_layers": 1}},
    "engine": {
        "train": {"micro_batch_size": 2, "gradient_checkpointing": True, "precision": "bf16", "evaluate_every_steps": 3}
    },
    "engine, lora": {"train": {"micro_batch_size": 1}, "expert": LORA},
    "reading": {"data": {"valid_fraction": 0.1, "on_bad_line": "skip", "heldout_bytes": 100}},
    "unimax": {"train": {"sampling": "unimax", "max_epochs": 1.0}},
    "enters": {"train": {"enters": {"Dutch": 0.5}, "schedule": "wsd", "seed": 3}},
    "annealed": {"train": {"final_sampling_temperature": 3.0, "share": "equal", "batch_size": 2}},
    "by hand": {"clusters": {"k": 1}, "train": {"dense": False}},
}
"""Sections that differ from the tiny recipe, by what they are about."""
