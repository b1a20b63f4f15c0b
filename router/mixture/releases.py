"""The differences between the releases of transformers that a mixture runs with.

Since 5.24 the argument and the output that hold the key-value cache are called `cache`; before, `past_key_values`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from clustering.errors import BadInput

CACHE_NAMES = ("cache", "past_key_values")
"""Every name of the cache, the newest first."""

_FIELDS = frozenset(field.name for field in dataclasses.fields(CausalLMOutputWithPast))

GENERATE_CACHE = next((name for name in CACHE_NAMES if name in _FIELDS), CACHE_NAMES[0])
"""The name under which this release's `generate` passes the cache from step to step, as in a model's output."""


def known_cache_name(names: Collection[str]) -> str:
    """The name of the cache among the names that an output or a model has.

    Raises:
        BadInput: If it is none of `CACHE_NAMES`; the message names the versions installed.
    """
    for name in CACHE_NAMES:
        if name in names:
            return name
    raise BadInput(
        f"No cache by the name of {' or '.join(CACHE_NAMES)} is known here ({versions()}), so a mixture cannot "
        "generate with one. Pass use_cache=False, or install a release of transformers that docs/versions.md lists."
    )


def forward_parameters(model: Any) -> frozenset[str]:
    """Names of the arguments that a model's forward pass takes."""
    # A peft model's own forward takes anything and hands it on.
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(inner.forward).parameters)


def output_with_cache(cache: Cache | None, **fields: Any) -> CausalLMOutputWithPast:
    """A model's output that carries the cache under the name which this release's `generate` reads."""
    if cache is not None:
        fields[GENERATE_CACHE] = cache
    return CausalLMOutputWithPast(**fields)


def cache_in(values: dict[str, Any]) -> Any:
    """The cache among keyword arguments, by any of its names; None if there is none."""
    return next((values[name] for name in CACHE_NAMES if values.get(name) is not None), None)


def versions() -> str:
    """The versions of the libraries that a mixture needs, such as "transformers 5.24.0, torch 2.13.0, peft 0.21.2"."""
    return ", ".join(f"{name} {_version(name)}" for name in ("transformers", "torch", "peft"))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(none)"
