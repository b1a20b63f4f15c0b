"""A student beside dense, base, experts and the average of the experts, on a run's held-out text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xelm.evaluation.log_probs import heldout_log_probs, measure
from xelm.run.experts import Document, ExpertSet
from xelm.run.names import BASE, DENSE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STUDENT, EXPERTS, AVERAGE = "student", "experts", "average"
_REPLICATES = 2000
Nats = dict[str, np.ndarray]
"""Language -> nats of each document."""


def figures(experts: ExpertSet, student: PreTrainedModel) -> tuple[dict[str, dict[str, float]], dict[str, list[float]]]:
    """Bits per byte by model and language on test text, and how the student compares.

    Returns:
        Model -> language -> bits per byte (`experts` as routed by the text before each token, where the run was
        evaluated so); and model -> change of the student's bits per byte against it in percent, in the mean over
        languages, with the ends of a 95 % interval (documents drawn with replacement within each language).
    """
    documents = experts.heldout("test")
    sizes = _by_language(documents, [float(len(document.text.encode())) for document in documents])
    nats = {STUDENT: _summed(documents, measure(experts, student, documents))}
    for name in (BASE, DENSE):
        if name in experts.models:
            nats[name] = _summed(documents, heldout_log_probs(experts, name, "test", keep=False))
    if (mean := average(experts)) is not None:
        nats[AVERAGE] = _summed(documents, measure(experts, mean, documents))
    table = {name: {code: _bits(own[code], sizes[code]) for code in sorted(own)} for name, own in nats.items()}
    compared = {name: _change(nats[STUDENT], own) for name, own in nats.items() if name != STUDENT}
    result = experts.result("test")
    if result and "top1" in result.routed:
        table[EXPERTS] = result.bits("top1")
        gap = [100 * (table[STUDENT][code] / bits - 1) for code, bits in table[EXPERTS].items()]
        compared[EXPERTS] = [float(np.mean(gap))]
    return table, compared


def average(experts: ExpertSet) -> PreTrainedModel | None:
    """The plain average of the experts' weights, which is measured to show that it is no way; None for one expert."""
    import torch

    if len(experts.names) < 2:
        return None
    sums: dict[str, torch.Tensor] = {}
    for name in experts.names:
        for key, tensor in _whole(experts, name).state_dict().items():
            part = tensor.detach().double() / len(experts.names)
            sums[key] = sums[key] + part if key in sums else part
    model = experts.load_model(BASE)
    model.load_state_dict({key: tensor.to(model.state_dict()[key].dtype) for key, tensor in sums.items()})
    return model


def _whole(experts: ExpertSet, name: str) -> Any:
    model: Any = experts.load_model(name)
    return model.merge_and_unload() if hasattr(model, "get_base_model") else model


def _summed(documents: Sequence[Document], log_probs: Sequence[np.ndarray]) -> Nats:
    return _by_language(documents, [-float(own_T.sum(dtype=np.float64)) for own_T in log_probs])


def _by_language(documents: Sequence[Document], values: Sequence[float]) -> Nats:
    rows: dict[str, list[float]] = {}
    for document, value in zip(documents, values, strict=True):
        rows.setdefault(document.language, []).append(value)
    return {code: np.array(own) for code, own in rows.items()}


def _bits(nats_D: np.ndarray, bytes_D: np.ndarray) -> float:
    return float(nats_D.sum() / np.log(2) / max(bytes_D.sum(), 1))


def _change(student: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> list[float]:
    """Change in percent, mean over languages, with its interval."""
    rng, draws = np.random.default_rng(0), np.zeros(_REPLICATES)
    value = float(np.mean([student[code].sum() / other[code].sum() - 1 for code in other]))
    for code in other:
        picks_RD = rng.integers(len(other[code]), size=(_REPLICATES, len(other[code])))
        draws += student[code][picks_RD].sum(axis=1) / other[code][picks_RD].sum(axis=1) - 1
    low, high = np.percentile(draws / len(other), [2.5, 97.5])
    return [100 * value, 100 * float(low), 100 * float(high)]
