"""The memory of a mixture while it generates: every expert's own cache, and the running posterior over experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache, PreTrainedConfig


class MixtureCache(Cache):
    """One key-value cache for each expert, moved together.

    `generate` sees one cache: reordering (beam search), repeating, selecting and cropping reach every expert's cache
    and the state of the posterior. The first forward pass decides which experts take part.

    Attributes:
        experts: The experts' caches, in the order of the mixture.
        active: Indices of the experts that take part, or None before the first pass.
        weights_BM: The weights at the beginning of the text, shape (B, M); None before the first pass.
        log_posterior_BM: Log-weights after the cached tokens, shape (B, number of active), for `dynamic` mixtures.
        last_log_probs: For `dynamic` mixtures, each active expert's log-probabilities (B, V) for the next token.
    """

    def __init__(self, configs: Sequence[PreTrainedConfig], offloading: bool = False):
        self.experts: list[Cache] = [DynamicCache(config=config, offloading=offloading) for config in configs]
        self.active: list[int] | None = None
        self.weights_BM: torch.Tensor | None = None
        self.log_posterior_BM: torch.Tensor | None = None
        self.last_log_probs: list[torch.Tensor] | None = None

    @property
    def in_use(self) -> list[Cache]:
        """The caches of the experts that take part."""
        return self.experts if self.active is None else [self.experts[index] for index in self.active]

    @property
    def layers(self) -> list[Any]:  # type: ignore[override]
        """The layers of all experts in use, expert by expert."""
        return [layer for cache in self.in_use for layer in cache.layers]

    def __repr__(self) -> str:
        return f"MixtureCache(experts={self.experts}, active={self.active})"

    def __len__(self) -> int:
        return len(self.layers)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens cached so far."""
        return self.in_use[0].get_seq_length(layer_idx)

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """The most tokens that fit, -1 for no limit."""
        return self.in_use[0].get_max_length(layer_idx)

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """`get_max_length` by the name that it had before transformers 5.11."""
        return int(self.in_use[0].get_max_cache_shape(layer_idx))  # type: ignore[attr-defined]

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Key length and offset of the first expert in use; experts ask their own caches."""
        return self.in_use[0].get_mask_sizes(query_length, layer_idx)

    def reset(self) -> None:
        """Forget everything."""
        for cache in self.experts:
            cache.reset()
        self.active = self.weights_BM = self.log_posterior_BM = self.last_log_probs = None

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Rearrange the rows, for beam search."""
        for cache in self.in_use:
            cache.reorder_cache(beam_idx)
        self._map_state(lambda state: state.index_select(0, beam_idx.to(state.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times in place."""
        for cache in self.in_use:
            cache.batch_repeat_interleave(repeats)
        self._map_state(lambda state: state.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows `indices`."""
        for cache in self.in_use:
            cache.batch_select_indices(indices)
        self._map_state(lambda state: state[indices.to(state.device)])

    def crop(self, tokens_to_remove: int) -> None:
        """Drop tokens; the number counts tokens to drop or to keep, depending on the release of transformers.

        Raises:
            ValueError: If weights follow the text: the posterior before the dropped tokens is not kept.
        """
        if tokens_to_remove != 0 and self.log_posterior_BM is not None:
            raise ValueError(
                "A mixture whose weights follow the text (policy 'bayes') cannot take tokens back, which assisted "
                "generation needs. Use another policy, or generate without an assistant."
            )
        for cache in self.in_use:
            cache.crop(tokens_to_remove)

    def activate_past_recording(self) -> None:
        """Ask every expert's cache to keep what `crop` needs."""
        for cache in self.experts:
            cache.activate_past_recording()

    @property
    def is_croppable(self) -> bool:
        """Whether `crop` can restore an earlier state exactly."""
        return self.log_posterior_BM is None and all(cache.is_croppable for cache in self.in_use)

    @property
    def is_compileable(self) -> bool:
        """Never: the experts' caches grow."""
        return False

    def _map_state(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        if self.weights_BM is not None:
            self.weights_BM = change(self.weights_BM)
        if self.log_posterior_BM is not None:
            self.log_posterior_BM = change(self.log_posterior_BM)
        if self.last_log_probs is not None:
            self.last_log_probs = [change(log_probs_BV) for log_probs_BV in self.last_log_probs]
