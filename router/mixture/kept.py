"""Caches of interrupted answers: kept on the models' device, and joined into one batch when the answers go on.

A cache can be kept where every token adds one column of keys and values to every layer, as full attention does. Rows
end in the last column, so rows of several batches are joined by zeros on their left, which the attention mask hides.
Shape letters: `B` rows, `H` heads, `S` cached positions, `D` numbers of a head.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from router.encoder_decoder import reads_apart
from router.mixture.cache import MixtureCache
from router.mixture.releases import CACHE_NAMES, forward_parameters


@dataclass(eq=False)
class KeptBatch:
    """The cache of a batch that may go on.

    Attributes:
        cache: Keys and values of all rows.
        num_tokens: How many tokens of each row are cached: its last so many columns.
        models: Where the models came from that made it (`MixedExperts.models`).
        kept_s: When it was kept, a time of `time.monotonic`.
    """

    cache: Cache
    num_tokens: list[int]
    models: Any
    kept_s: float = field(default_factory=time.monotonic)

    @property
    def num_bytes(self) -> int:
        """Memory that the cache takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(self.cache))


@dataclass(frozen=True)
class KeptRow:
    """The cache of one answer: a row of a batch."""

    batch: KeptBatch
    index: int

    @property
    def num_tokens(self) -> int:
        """How many of its tokens need not be read again."""
        return self.batch.num_tokens[self.index]


def can_keep(model: Any) -> bool:
    """Whether the cache with which a model generates can be kept and joined with others.

    Not where it holds less than all tokens (sliding windows), a state instead of tokens (recurrent and hybrid models),
    room of a fixed size (static caches) or an encoder's output; nor where the model generates without one.
    """
    inner, options = (model.get_base_model() if hasattr(model, "get_base_model") else model), model.generation_config
    if reads_apart(model) or getattr(inner, "_is_stateful", False):
        return False
    if options.use_cache is False or options.cache_implementation is not None:
        return False
    takes_cache = any(name in forward_parameters(model) for name in CACHE_NAMES)
    return takes_cache and grows_by_columns(DynamicCache(config=model.config))


def grows_by_columns(cache: Any) -> bool:
    """Whether every token adds one column to every layer."""
    if isinstance(cache, MixtureCache):
        return all(map(grows_by_columns, cache.in_use))
    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)


def joined(rows: Sequence[KeptRow]) -> KeptBatch | None:
    """One batch of kept rows, in their order; a batch that is whole already is returned as it is.

    Args:
        rows: At least one, of the same experts.

    Returns:
        None if the rows cannot go on together, since another choice of a mixture's experts has read them.
    """
    batches = list({id(row.batch): row.batch for row in rows}.values())
    num_tokens = [row.num_tokens for row in rows]
    first, longest = batches[0], max(num_tokens)
    indices = [row.index for row in rows]
    if len(batches) == 1 and indices == list(range(len(first.num_tokens))) and longest == _width(first.cache):
        return first
    if len({tuple(getattr(batch.cache, "active", None) or ()) for batch in batches}) > 1:
        return None
    parts = [_Part([p for p, row in enumerate(rows) if row.batch is b], b, indices) for b in batches]
    with torch.inference_mode():
        return KeptBatch(_join([batch.cache for batch in batches], parts, longest), num_tokens, first.models)


class _Part:
    """The rows of one batch: their places in the new batch, and in their own."""

    def __init__(self, places: list[int], batch: KeptBatch, indices: Sequence[int]):
        self.places, self.indices = places, [indices[place] for place in places]


def _join(caches: Sequence[Any], parts: Sequence[_Part], longest: int) -> Any:
    new = copy.copy(caches[0])
    if not isinstance(new, MixtureCache):
        new.layers = []
        for layers in zip(*(cache.layers for cache in caches), strict=True):
            layer = copy.copy(layers[0])
            layer.keys = _columns([each.keys for each in layers], parts, longest)
            layer.values = _columns([each.values for each in layers], parts, longest)
            new.layers.append(layer)
        return new
    new.experts = list(new.experts)
    for index in new.active or ():
        new.experts[index] = _join([cache.experts[index] for cache in caches], parts, longest)
    for name in ("weights_BM", "log_posterior_BM"):
        setattr(new, name, _states([getattr(cache, name) for cache in caches], parts))
    if new.last_log_probs is not None:
        by_expert = zip(*(cache.last_log_probs for cache in caches), strict=True)
        new.last_log_probs = [_states(states, parts) for states in by_expert]
    return new


def _columns(tensors: Sequence[torch.Tensor], parts: Sequence[_Part], longest: int) -> torch.Tensor:
    """The last `longest` columns of the chosen rows, with zeros before shorter ones, shape (B, H, S, D)."""
    first = tensors[0]
    num_rows = sum(len(part.places) for part in parts)
    whole = first.new_zeros((num_rows, first.shape[1], longest, first.shape[3]))
    for tensor, part in zip(tensors, parts, strict=True):
        width = min(longest, tensor.shape[2])
        whole[part.places, :, longest - width :] = tensor[part.indices, :, tensor.shape[2] - width :]
    return whole


def _states(states: Sequence[Any], parts: Sequence[_Part]) -> Any:
    """The chosen rows of tensors whose first axis is the batch; None where there is no such state."""
    if states[0] is None:
        return None
    whole = states[0].new_empty((sum(len(part.places) for part in parts), *states[0].shape[1:]))
    for state, part in zip(states, parts, strict=True):
        whole[part.places] = state[part.indices]
    return whole


def _width(cache: Any) -> int:
    return int(cache.get_seq_length())


def _tensors(cache: Any) -> Iterator[torch.Tensor]:
    for layer in cache.layers:
        yield from (layer.keys, layer.values)
    yield from getattr(cache, "last_log_probs", None) or ()
