"""Experts on one shared base, whatever they change of it: a bank that holds them, and the base as seen through some."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clustering.errors import BadInput


class Bank(ABC):
    """Experts of one base model in memory: a `LoraBank` or a `LayerBank`. One thread may run a pass at a time.

    Args:
        base: The shared model.
    """

    def __init__(self, base: Any):
        self.base = base
        self._index: dict[str, int] = {}
        self._lock = threading.RLock()

    @property
    def names(self) -> tuple[str, ...]:
        """Experts added so far."""
        return tuple(self._index)

    @abstractmethod
    def add(self, name: str, folder: str | Path) -> None:
        """Read an expert.

        Raises:
            BadInput: If the name is taken, or the expert does not fit the base.
        """

    @abstractmethod
    def using(self, experts: Sequence[int]) -> AbstractContextManager[None]:
        """Run the base with these experts, by index in `names`, one for each row; -1 for none."""

    def model_for_rows(self, names: Sequence[str | None]) -> BankView:
        """The base with one expert for each row of its batches (None: the bare base).

        Batches may have a multiple of `len(names)` rows (beams, several returned sequences): each name then holds for
        as many rows in succession. One name alone holds for all rows.

        Raises:
            BadInput: If a name is not loaded.
        """
        unknown = [name for name in names if name is not None and name not in self._index]
        if unknown:
            raise BadInput(f"No expert is called {', '.join(map(str, unknown))}. Loaded: {', '.join(self._index)}.")
        return BankView(self, [-1 if name is None else self._index[name] for name in names])

    def _refuse_taken(self, name: str) -> None:
        if name in self._index:
            raise BadInput(f"An expert called {name!r} is already loaded.")


class BankView(nn.Module):
    """A base model seen through chosen experts; behaves like the causal language model that it stands for."""

    def __init__(self, bank: Bank, adapters: Sequence[int]):
        super().__init__()
        self.base = bank.base
        self._bank = bank
        self._adapters = tuple(adapters)

    @property
    def config(self) -> Any:
        """The base's configuration."""
        return self.base.config

    @property
    def device(self) -> torch.device:
        """The base's device."""
        device: torch.device = self.base.device
        return device

    @property
    def generation_config(self) -> Any:
        """The base's defaults for `generate`."""
        return self.base.generation_config

    def get_base_model(self) -> Any:
        """The shared base."""
        return self.base

    def get_input_embeddings(self) -> nn.Module:
        """The base's input embeddings."""
        embeddings: nn.Module = self.base.get_input_embeddings()
        return embeddings

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The base's forward with the experts."""
        with self._bank.using(self._adapters):
            return self.base(*args, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The base's generate with the experts."""
        with self._bank.using(self._adapters):
            return self.base.generate(*args, **kwargs)
