"""Experts by layer on one shared base: an expert has its own copies of a few decoder layers, the rest is the base's.

A batch whose rows belong to different experts runs in one pass: a layer that no expert has copied sees the whole batch;
at the others the rows are divided, each part goes through its expert's copy, and the parts are joined again. The base's
modules and parameter names do not change: the layers' `forward` is replaced, and `LayerBank.close` restores it. The
idea is that of DMoE (Li et al. 2025, "Group then Scale"). Shape letters: `N` rows of a layer's input.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clustering.errors import BadInput
from router.models.bank import Bank
from router.models.layer_files import read_layers


class LayerBank(Bank):
    """Layers of several experts of one base model, loaded as they are needed and used together.

    It needs the memory of the base and the copied layers. One thread may run a pass at a time; others wait.

    Args:
        base: The shared model. Outside `using`, its answers do not change.
        layers: The base's decoder layers, in order.
        prefix: The beginning of the names of their parameters, such as `model.layers`.

    Example:
        >>> bank = LayerBank(base, base.model.layers, "model.layers")
        >>> bank.add("slavic", "runs/a/experts/slavic")
        >>> bank.model_for_rows(["slavic", None]).generate(ids, max_new_tokens=20)
    """

    def __init__(self, base: Any, layers: nn.ModuleList, prefix: str):
        super().__init__(base)
        self._layers, self._prefix = layers, prefix
        self._switches: dict[int, _Switch] = {}
        self._rows: tuple[int, ...] = ()

    def add(self, name: str, folder: str | Path) -> None:
        """Read an expert's layers and keep them under `name`.

        Raises:
            BadInput: If the name is taken, or the layers do not fit the base.
        """
        self._refuse_taken(name)
        found = read_layers(Path(folder))
        if found.prefix != self._prefix or max(found.tensors) >= len(self._layers):
            raise BadInput(
                f"{folder}: has layers {', '.join(map(str, found.tensors))} of {found.prefix}, the base has "
                f"{len(self._layers)} of {self._prefix}. Use the base it was trained on."
            )
        with self._lock:
            for number in found.tensors:
                if number not in self._switches:
                    self._switches[number] = _Switch(self._layers[number], self)
            # All copies are made before one is used, so that an expert that does not fit changes nothing.
            made = {n: self._switches[n].copy(tensors, str(folder)) for n, tensors in found.tensors.items()}
            index = len(self._index)
            for number, own in made.items():
                self._switches[number].copies[index] = own
            self._index[name] = index

    @contextmanager
    def using(self, experts: Sequence[int]) -> Iterator[None]:
        """Run the base with these experts, by index in `names`, one for each row; -1 for the base's own layers."""
        with self._lock:
            before, self._rows = self._rows, tuple(experts)
            try:
                yield
            finally:
                self._rows = before

    def rows_of(self, num_rows: int) -> tuple[int, ...]:
        """The expert of each of `num_rows` rows of the running batch; empty if only the base runs.

        Raises:
            BadInput: If the number of rows is no multiple of the number of named experts.
        """
        if not self._rows or num_rows % len(self._rows):
            if self._rows:
                raise BadInput(
                    f"A batch of {num_rows} rows does not fit experts for {len(self._rows)} rows. "
                    "Ask model_for_rows for one expert for each row."
                )
            return ()
        times = num_rows // len(self._rows)
        return tuple(expert for expert in self._rows for _ in range(times))

    def close(self) -> None:
        """Give the base its own layers back."""
        for switch in self._switches.values():
            switch.close()
        self._switches, self._index = {}, {}


class _Switch:
    """One layer of the base, and the copies of it that experts have."""

    def __init__(self, layer: nn.Module, bank: LayerBank):
        self._layer, self._bank = layer, bank
        self._own = layer.forward
        self.copies: dict[int, nn.Module] = {}
        layer.forward = self._forward

    def copy(self, tensors: dict[str, torch.Tensor], source: str) -> nn.Module:
        """A copy of the layer with an expert's tensors."""
        like = next(self._layer.parameters())
        replaced = self._layer.__dict__.pop("forward")
        try:
            # Tensors without memory replace the base's, so that no tensor is copied only to be overwritten.
            memo = {id(p): nn.Parameter(torch.empty_like(p, device="meta")) for p in self._layer.parameters()}
            own = copy.deepcopy(self._layer, memo)
        finally:
            self._layer.forward = replaced
        expected = {name: tensor.shape for name, tensor in self._layer.state_dict().items()}
        given = {name: t.shape for name, t in tensors.items()}
        if expected != given:
            wrong = next(name for name in {**expected, **given} if expected.get(name) != given.get(name))
            raise BadInput(
                f"{source}: {wrong} is of shape {list(given.get(wrong, []))}, in the base of "
                f"{list(expected.get(wrong, []))}. Use the base it was trained on."
            )
        moved = {name: tensor.to(like.device, like.dtype) for name, tensor in tensors.items()}
        own.load_state_dict(moved, strict=False, assign=True)
        return own.requires_grad_(False).eval()

    def close(self) -> None:
        self._layer.__dict__.pop("forward", None)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        hidden: torch.Tensor = args[0] if args else kwargs["hidden_states"]
        num_rows = len(hidden)
        # Experts without a copy of this layer use the base's.
        experts = [expert if expert in self.copies else -1 for expert in self._bank.rows_of(num_rows)]
        if not experts:
            return self._own(*args, **kwargs)
        if len(set(experts)) == 1:
            return self._run(experts[0], args, kwargs)
        parts = []
        opened: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for expert in dict.fromkeys(experts):
            rows_N = torch.tensor([row for row, own in enumerate(experts) if own == expert], device=hidden.device)
            part = _Part(rows_N, num_rows, opened)
            parts.append((rows_N, self._run(expert, part.of(args), part.of(kwargs))))
        return _together(parts, num_rows)

    def _run(self, expert: int, args: Any, kwargs: Any) -> Any:
        layer = self._own if expert < 0 else self.copies[expert]
        return layer(*args, **kwargs)


class _Part:
    """The arguments of a layer for some rows of the batch.

    Args:
        rows_N: Indices of the rows.
        num_rows: Number of rows of the batch.
        opened: Keys and values of the whole batch by layer, allocated by the first part of a pass.
    """

    def __init__(self, rows_N: torch.Tensor, num_rows: int, opened: dict[int, tuple[torch.Tensor, torch.Tensor]]):
        self._rows_N, self._num_rows, self._opened = rows_N, num_rows, opened

    def of(self, value: Any) -> Any:
        """An argument, or a tuple, list or table of them, for these rows alone."""
        from transformers import Cache

        if isinstance(value, torch.Tensor):
            whole = value.ndim > 1 and len(value) == self._num_rows
            return value[self._rows_N] if whole else value
        if isinstance(value, Cache):
            return _RowsOfCache(value, self._rows_N, self._num_rows, self._opened)
        if isinstance(value, tuple | list):
            return type(value)(self.of(one) for one in value)
        return {key: self.of(one) for key, one in value.items()} if isinstance(value, dict) else value


class _RowsOfCache:
    """The cache of a batch for some of its rows; what they add is written to their rows of the whole cache."""

    def __init__(
        self, cache: Any, rows_N: torch.Tensor, num_rows: int, opened: dict[int, tuple[torch.Tensor, torch.Tensor]]
    ):
        self._cache, self._rows_N, self._num_rows, self._opened = cache, rows_N, num_rows, opened

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the rows' keys and values of the new tokens; return the rows' keys and values of all tokens."""
        if layer_idx not in self._opened:
            room = [new.new_zeros((self._num_rows, *new.shape[1:])) for new in (keys, values)]
            self._opened[layer_idx] = self._cache.update(*room, layer_idx, *args, **kwargs)
        found = []
        for whole, new in zip(self._opened[layer_idx], (keys, values), strict=True):
            whole[self._rows_N, :, -new.shape[2] :] = new
            found.append(whole[self._rows_N])
        return found[0], found[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def _together(parts: Sequence[tuple[torch.Tensor, Any]], num_rows: int) -> Any:
    """Join the outputs of the parts of a batch into the output of the whole batch."""
    first = parts[0][1]
    if isinstance(first, tuple):
        return tuple(_together([(rows, out[i]) for rows, out in parts], num_rows) for i in range(len(first)))
    if not isinstance(first, torch.Tensor):
        return first
    whole = first.new_empty((num_rows, *first.shape[1:]))
    for rows_N, out in parts:
        whole[rows_N] = out
    return whole
