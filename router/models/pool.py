"""Experts in memory: loaded on first use, the least recently used one dropped when there is no room."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clustering.errors import BadInput, arg

logger = logging.getLogger(__name__)


class TooManyExperts(BadInput):
    """More experts must answer together than the cap lets into memory."""


Loader = Callable[[], Any]
"""A function that returns a causal language model of transformers, on its device and in its dtype, ready to run."""


class ExpertPool:
    """Models by name, of which a limited number is in memory at a time.

    Room is made before a model is loaded, so that memory never holds more than the cap. Models of one `get_many` call
    stay together. It may be called from several threads.

    Args:
        loaders: Expert -> the function that loads it.
        max_loaded: Most experts in memory, >= 1; None for all.
        max_bytes: Most bytes of parameters and buffers, by `sizes` or, where it lacks an expert, by the largest one
            loaded so far; one expert is always allowed. None for no limit.
        sizes: Expert -> bytes, if known beforehand.

    Raises:
        BadInput: If a cap is less than 1.
    """

    def __init__(
        self,
        loaders: Mapping[str, Loader],
        *,
        max_loaded: int | None = None,
        max_bytes: int | None = None,
        sizes: Mapping[str, int] | None = None,
    ):
        for name, value in (("max_loaded", max_loaded), ("max_bytes", max_bytes)):
            if value is not None and value < 1:
                raise BadInput(f"{name}={value} must be at least 1, or None for no limit.")
        self._loaders = dict(loaders)
        self._max_loaded = max_loaded
        self._max_bytes = max_bytes
        self._sizes = dict(sizes or {})
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def names(self) -> tuple[str, ...]:
        """All experts, loaded or not."""
        return tuple(self._loaders)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Experts in memory, least recently used first."""
        return tuple(self._models)

    def get(self, name: str) -> Any:
        """The expert's model, loaded if need be.

        Raises:
            BadInput: If there is no such expert.
        """
        return self.get_many([name])[0]

    def get_many(self, names: Sequence[str]) -> list[Any]:
        """Several models that must be in memory together, in the order asked.

        Raises:
            BadInput: If one does not exist.
            TooManyExperts: If they are more than the cap allows.
        """
        unknown = [name for name in names if name not in self._loaders]
        if unknown:
            raise BadInput(f"No expert is called {', '.join(unknown)}. There are: {', '.join(self._loaders)}.")
        needed = list(dict.fromkeys(names))
        if self._max_loaded is not None and len(needed) > self._max_loaded:
            raise TooManyExperts(
                f"{len(needed)} experts ({', '.join(needed)}) must answer together, but "
                f"{arg('max_loaded', self._max_loaded)}. Raise {arg('max_loaded')}, or use {arg('policy', 'top1')}."
            )
        with self._lock:
            # Use the loaded ones first, so that making room for the others cannot drop them.
            for name in sorted(needed, key=lambda name: name not in self._models):
                if name in self._models:
                    self._models.move_to_end(name)
                else:
                    self._make_room(name, needed)
                    self._load(name)
            return [self._models[name] for name in names]

    def clear(self) -> None:
        """Drop all models."""
        with self._lock:
            self._models.clear()
            _release_memory()

    def _load(self, name: str) -> None:
        started_at_s = time.perf_counter()
        model = self._loaders[name]()
        self._sizes[name] = num_bytes(model)
        self._models[name] = model
        logger.info("Expert %s loaded in %.1f s", name, time.perf_counter() - started_at_s)

    def _make_room(self, name: str, needed: Sequence[str]) -> None:
        droppable = [other for other in self._models if other not in needed]
        dropped = False
        while droppable and not self._fits(name):
            victim = droppable.pop(0)
            del self._models[victim]
            dropped = True
            logger.info("Expert %s dropped to make room for %s", victim, name)
        if dropped:
            _release_memory()

    def _fits(self, name: str) -> bool:
        if self._max_loaded is not None and len(self._models) >= self._max_loaded:
            return False
        if self._max_bytes is None or not self._models:
            return True
        expected = self._sizes.get(name, max(self._sizes.values(), default=0))
        return sum(self._sizes[other] for other in self._models) + expected <= self._max_bytes


def num_bytes(model: Any) -> int:
    """Bytes of a model's parameters and buffers, shared ones counted once."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _release_memory() -> None:
    import torch

    gc.collect()  # models hold cycles
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
