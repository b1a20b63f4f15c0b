"""Check the options of `generate` before anything runs: no option may be misspelt or out of its range."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from clustering.errors import BadInput

LEAST_TEMPERATURE = 1e-4
"""The lowest temperature at which tokens are drawn: far below it, logits divided by it overflow."""

_OWN = frozenset({"batch_size", "for_batch", "max_length", "return_dict_in_generate"})
_SET_HERE = frozenset({"input_ids", "inputs", "attention_mask", "expert_weights", "synced_gpus"})

# Option -> (what is allowed, in words; the test).
_RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "temperature": (f"{LEAST_TEMPERATURE} or more; do_sample=False takes the likeliest token", lambda v: v >= 1e-4),
    "top_p": ("more than 0 and at most 1", lambda v: 0 < v <= 1),
    "top_k": ("a whole number, 0 (no limit) or more", lambda v: v >= 0 and int(v) == v),
    "min_p": ("0 to 1", lambda v: 0 <= v <= 1),
    "typical_p": ("more than 0 and at most 1", lambda v: 0 < v <= 1),
    "epsilon_cutoff": ("0 or more and less than 1", lambda v: 0 <= v < 1),
    "eta_cutoff": ("0 or more and less than 1", lambda v: 0 <= v < 1),
    "repetition_penalty": ("more than 0", lambda v: v > 0),
    "encoder_repetition_penalty": ("more than 0", lambda v: v > 0),
    "no_repeat_ngram_size": ("a whole number, 0 or more", lambda v: v >= 0 and int(v) == v),
    "num_beams": ("a whole number of at least 1", lambda v: v >= 1 and int(v) == v),
    "num_return_sequences": ("a whole number of at least 1", lambda v: v >= 1 and int(v) == v),
    "max_new_tokens": ("a whole number of at least 1", lambda v: v >= 1 and int(v) == v),
    "min_new_tokens": ("a whole number, 0 or more", lambda v: v >= 0 and int(v) == v),
}


def check_options(options: dict[str, Any]) -> None:
    """Refuse options that `generate` does not know, or whose value is out of range.

    Raises:
        BadInput: The message names the option, the value, and what is allowed or near names.
    """
    for name in options:
        if name in _SET_HERE:
            raise BadInput(f"{name} is set from the prompts and the policy here. Leave it out.")
        if name not in _known():
            near = difflib.get_close_matches(name, _known(), n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise BadInput(f"{name}: no option of transformers' generate.{hint}")
    for name, (allowed, test) in _RANGES.items():
        value = options.get(name)
        if name == "temperature" and options.get("do_sample") is False:
            continue  # it has no effect
        if value is not None and not _passes(value, test):
            raise BadInput(f"{name}={value!r} must be {allowed}.")


def _passes(value: Any, test: Callable[[Any], bool]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and test(value)


@cache
def _known() -> frozenset[str]:
    import inspect

    from transformers import GenerationConfig, GenerationMixin

    # Arguments and attributes of a configuration: some arguments are kept under another name.
    settings: Iterable[str] = {*vars(GenerationConfig()), *GenerationConfig().to_dict()}
    named = inspect.signature(GenerationMixin.generate).parameters
    return frozenset({*settings, *named, *_OWN, "tokenizer", "assistant_tokenizer"} - {"self", "kwargs"})
