"""Choose which layers of each expert are put back to the base: those that its own languages miss least, to a budget."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clustering.errors import BadInput, arg
from xelm.blending.choose import Measured, Nats, measured
from xelm.evaluation.log_probs import measure
from xelm.models.layer_groups import layer_of, layer_order, selects
from xelm.run.experts import Document, ExpertSet
from xelm.run.names import BASE

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def choose_put_back(trained: ExpertSet, *, lose: float) -> dict[str, tuple[str, ...]]:
    """Choose layers for each expert on valid text of its own languages.

    Each layer is put back alone, which shows what of the expert's own gain hangs on it. Then they are put back one
    after another, the least missed first, as long as the share of own gain that is kept, less one standard error
    (paired bootstrap over documents), stays above 1 - `lose`.

    Args:
        trained: The run as it was trained.
        lose: Share of own gain that may be lost.

    Returns:
        Expert -> layers (`embedding`, `0`, `1`, …, `other`); none for an expert that gains nothing.

    Raises:
        BadInput: If the run has no valid text.
    """
    if not trained.heldout("valid"):
        raise BadInput(f"{trained.path}: no valid text in this run to choose layers on. Use {arg('keep', 0.75)}.")
    found = {}
    for name, expert in measured(trained).items():
        if not expert.own or expert.gain(1.0) <= 0:
            logger.warning("%s stays as it was trained: it gains nothing on valid text of its languages.", name)
            found[name] = tuple[str, ...]()
            continue
        found[name] = _Chooser.of(trained, name, expert).chosen(1 - lose)
        logger.info("%s: put back %s", name, ", ".join(found[name]) or "nothing")
    return found


@dataclass(frozen=True)
class _Chooser:
    """One expert in memory, beside the base's weights."""

    experts: ExpertSet
    model: torch.nn.Module
    base: Mapping[str, torch.Tensor]
    on_valid: Measured
    documents: list[Document]

    @classmethod
    def of(cls, experts: ExpertSet, name: str, on_valid: Measured) -> _Chooser:
        base = {key: tensor.detach() for key, tensor in experts.load_model(BASE).named_parameters()}
        documents = experts.heldout("valid", on_valid.own)
        return cls(experts, experts.load_model(name), base, on_valid, documents)

    def chosen(self, bound: float) -> tuple[str, ...]:
        """The layers to put back so that the bound on the share of own gain holds."""
        layers = self._layers()
        missed = {layer: self._kept((layer,))[0] for layer in layers}
        put_back: tuple[str, ...] = ()
        for layer in sorted(layers, key=lambda layer: -missed[layer]):
            share, error = self._kept((*put_back, layer))
            if share - error < bound:
                break
            put_back = (*put_back, layer)
        return tuple(sorted(put_back, key=layer_order))

    def _layers(self) -> list[str]:
        """Layers in which the expert differs from the base."""
        names = [name for name, p in self.model.named_parameters() if "lora_B" in name or self._differs(name, p)]
        return sorted({layer_of(name) for name in names}, key=layer_order)

    def _differs(self, name: str, parameter: torch.Tensor) -> bool:
        return name in self.base and not bool((self.base[name] == parameter).all())

    def _kept(self, put_back: Sequence[str]) -> tuple[float, float]:
        """Share of own gain that is kept with these layers put back, and its standard error."""
        key = tuple(sorted(put_back))
        if key not in self.on_valid.nats:
            with self._without(put_back):
                self.on_valid.nats[key] = self._nats()
        return self.on_valid.kept(key)

    @contextmanager
    def _without(self, put_back: Sequence[str]) -> Iterator[None]:
        """The model with these layers as the base has them: its weights, or adapters that add nothing."""
        import torch

        before = {}
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if any(selects(layer, name) for layer in put_back) and (name in self.base or "lora_B" in name):
                    before[name] = parameter.clone()
                    parameter.copy_(self.base[name] if name in self.base else torch.zeros_like(parameter))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    if name in before:
                        parameter.copy_(before[name])

    def _nats(self) -> Nats:
        rows: dict[str, list[float]] = {}
        values = measure(self.experts, self.model, self.documents)  # type: ignore[arg-type]
        for document, log_probs_T in zip(self.documents, values, strict=True):
            rows.setdefault(document.language, []).append(-float(log_probs_T.sum(dtype=np.float64)))
        return {code: np.array(nats) for code, nats in rows.items()}
