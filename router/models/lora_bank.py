"""LoRA experts on one shared base: a batch whose rows use different adapters runs in a single pass.

Every adapted layer keeps the factors of all adapters stacked. For a row of adapter k the layer adds B_k A_k x (scaling
is folded into B). With few adapters that is two dense products over all stacked factors with a 0/1 mask between them,
which is faster than gathering factors row by row; with many adapters, factors are gathered. The base's modules and
parameter names do not change: the addition is a forward hook. Shape letters: `N` rows of a layer's input, `K` adapters,
`R` rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clustering.errors import BadInput
from router.models.bank import Bank
from router.models.lora_files import AdapterWeights, read_adapter

# Above this many stacked rank dimensions the masked dense product costs more than gathering.
_MAX_STACKED_RANK = 512


class LoraBank(Bank):
    """Adapters of one base model, loaded as they are needed and used together.

    Beside the base it needs only the memory of the adapters' factors. One thread may run a pass at a time; others wait.

    Args:
        base: The shared model. It gets forward hooks; outside `using`, its answers do not change.

    Example:
        >>> bank = LoraBank(base)
        >>> bank.add("slavic", "runs/a/experts/slavic")
        >>> bank.model_for_rows(["slavic", "slavic"]).generate(ids, max_new_tokens=20)
    """

    def __init__(self, base: Any):
        super().__init__(base)
        self._layers: dict[str, _StackedLayer] = {}
        self._rows = _Rows()

    def add(self, name: str, folder: str | Path) -> None:
        """Read a PEFT adapter folder and stack it under `name`.

        Raises:
            BadInput: If the folder is not a plain LoRA adapter that fits the base.
        """
        self.add_weights(name, read_adapter(folder))

    def add_weights(self, name: str, adapter: AdapterWeights) -> None:
        """Stack an adapter already in memory.

        Raises:
            BadInput: If the name is taken, or a factor does not fit a layer of the base.
        """
        self._refuse_taken(name)
        modules = dict(self.base.named_modules())
        for path, (a_RI, b_OR) in adapter.factors.items():
            _check_fits(path, modules.get(path), a_RI, b_OR, adapter.source)
        with self._lock:
            self._index[name] = len(self._index)
            for path in adapter.factors:
                if path not in self._layers:
                    self._layers[path] = _StackedLayer(modules[path], self._rows, len(self._index) - 1)
            for path, layer in self._layers.items():
                layer.append(adapter.factors.get(path))

    @contextmanager
    def using(self, experts: Sequence[int]) -> Iterator[None]:
        """Run the base with these adapters, by index in `names`, one for each row; -1 for none."""
        with self._lock:
            before = self._rows.adapters
            self._rows.use(tuple(experts), len(self._index))
            try:
                yield
            finally:
                self._rows.use(before, len(self._index))


class _Rows:
    """The adapter of each row of the running batch, in the forms that the layers need."""

    def __init__(self) -> None:
        self.adapters: tuple[int, ...] = ()
        self._num_adapters = 0
        self._indices: dict[tuple[int, torch.device], torch.Tensor] = {}
        self._masks: dict[tuple[int, int, torch.dtype, torch.device], torch.Tensor] = {}

    def use(self, adapters: tuple[int, ...], num_adapters: int) -> None:
        self.adapters, self._num_adapters = adapters, num_adapters
        self._indices, self._masks = {}, {}

    @property
    def only(self) -> int | None:
        """The adapter of all rows, if it is one and the same."""
        return self.adapters[0] if len(set(self.adapters)) == 1 else None

    def indices(self, num_rows: int, device: torch.device) -> torch.Tensor:
        """Adapter of each of `num_rows` rows, shape (N,)."""
        key = (num_rows, device)
        if key not in self._indices:
            if num_rows % len(self.adapters):
                raise BadInput(
                    f"A batch of {num_rows} rows does not fit adapters for {len(self.adapters)} rows. "
                    "Ask model_for_rows for one adapter for each row."
                )
            given = torch.tensor(self.adapters, device=device)
            self._indices[key] = given.repeat_interleave(num_rows // len(self.adapters))
        return self._indices[key]

    def mask(self, num_rows: int, rank: int, like: torch.Tensor) -> torch.Tensor:
        """1 where a stacked rank dimension belongs to the row's adapter, shape (N, K * R)."""
        key = (num_rows, rank, like.dtype, like.device)
        if key not in self._masks:
            adapters_K = torch.arange(self._num_adapters, device=like.device)
            own_NK = self.indices(num_rows, like.device)[:, None] == adapters_K
            self._masks[key] = own_NK.repeat_interleave(rank, dim=1).to(like.dtype)
        return self._masks[key]


class _StackedLayer:
    """The factors of all adapters for one layer, and the hook that adds their product."""

    def __init__(self, module: nn.Module, rows: _Rows, num_before: int):
        self._rows = rows
        self._like = next(module.parameters())
        self._a_KRI: torch.Tensor | None = None
        self._b_OKR: torch.Tensor | None = None  # this order, so that stacked factors are one matrix without a copy
        self._num_missing = num_before
        module.register_forward_hook(self._hook)

    def append(self, factors: tuple[torch.Tensor, torch.Tensor] | None) -> None:
        """Stack one more adapter; None means that the adapter does not change this layer."""
        if factors is None:
            assert self._a_KRI is not None and self._b_OKR is not None
            factors = (torch.zeros_like(self._a_KRI[0]), torch.zeros_like(self._b_OKR[:, 0]))
        a_RI, b_OR = (factor.to(self._like.device, self._like.dtype) for factor in factors)
        if self._a_KRI is None or self._b_OKR is None:
            # Adapters added before this layer was first adapted do nothing here.
            self._a_KRI = a_RI.new_zeros((self._num_missing, *a_RI.shape))
            self._b_OKR = b_OR.new_zeros((len(b_OR), self._num_missing, b_OR.shape[1]))
        rank = max(self._a_KRI.shape[1], a_RI.shape[0])
        self._a_KRI = torch.cat([_pad_rank(self._a_KRI, rank, 1), _pad_rank(a_RI[None], rank, 1)])
        self._b_OKR = torch.cat([_pad_rank(self._b_OKR, rank, 2), _pad_rank(b_OR[:, None], rank, 2)], dim=1)

    def _hook(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        if not self._rows.adapters:
            return output
        assert self._a_KRI is not None and self._b_OKR is not None
        x = inputs[0]
        only = self._rows.only
        if only is not None:
            if only < 0:
                return output
            low = nn.functional.linear(x, self._a_KRI[only])
            return _add_product(output, low, self._b_OKR[:, only])
        num_adapters, rank, _ = self._a_KRI.shape
        if num_adapters * rank > _MAX_STACKED_RANK:
            return output + self._gathered(x)
        low = nn.functional.linear(x, self._a_KRI.flatten(0, 1))
        mask = self._rows.mask(x.shape[0], rank, x)
        low = low * (mask if x.ndim == 2 else mask[:, None])
        return _add_product(output, low, self._b_OKR.flatten(1))

    def _gathered(self, x: torch.Tensor) -> torch.Tensor:
        assert self._a_KRI is not None and self._b_OKR is not None
        indices_N = self._rows.indices(x.shape[0], x.device)
        chosen_N = indices_N.clamp(min=0)
        flat = x.ndim == 2
        x_NTI = x[:, None] if flat else x
        b_NRO = self._b_OKR[:, chosen_N].permute(1, 2, 0)
        added = torch.bmm(torch.bmm(x_NTI, self._a_KRI[chosen_N].mT), b_NRO)
        added = added * (indices_N >= 0)[:, None, None]
        return added[:, 0] if flat else added


def _add_product(output: torch.Tensor, low: torch.Tensor, b_OR: torch.Tensor) -> torch.Tensor:
    """`output` + `low` times b transposed, written into `output` if nothing else needs it: one product, no sum."""
    alike = output.dtype == low.dtype == b_OR.dtype
    if not alike or output.requires_grad or not output.is_contiguous():
        return output + nn.functional.linear(low, b_OR)
    output.view(-1, output.shape[-1]).addmm_(low.reshape(-1, low.shape[-1]), b_OR.T)
    return output


def _pad_rank(factor: torch.Tensor, rank: int, dim: int) -> torch.Tensor:
    missing = rank - factor.shape[dim]
    if not missing:
        return factor
    shape = list(factor.shape)
    shape[dim] = missing
    return torch.cat([factor, factor.new_zeros(shape)], dim=dim)


def _check_fits(path: str, module: nn.Module | None, a_RI: torch.Tensor, b_OR: torch.Tensor, source: str) -> None:
    if module is None:
        raise BadInput(f"{source}: adapts {path}, which the base model lacks. Use the base it was trained on.")
    weight = getattr(module, "weight", None)
    sizes = set(weight.shape) if isinstance(weight, torch.Tensor) and weight.ndim == 2 else set()
    if sizes != {a_RI.shape[1], b_OR.shape[0]}:
        raise BadInput(
            f"{source}: {path} maps {a_RI.shape[1]} to {b_OR.shape[0]} numbers, in the base it is of shape "
            f"{tuple(weight.shape) if isinstance(weight, torch.Tensor) else None}. Use the base it was trained on."
        )
