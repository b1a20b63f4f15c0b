"""Log-probabilities of a run's held-out text under its models, kept for each token so that nothing is measured twice.

Adding a language needs the new expert on every language and every model on the new language; all else is read from
`cache/log_probs/`. Each language is measured apart from the others, so that its figures do not depend on the other
languages of the run.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clustering.files import atomic_write
from xelm.evaluation.answers import answer_log_probs
from xelm.making.make_model import finished_entry
from xelm.models.base import context_length
from xelm.recipe.recipe import Base
from xelm.run.experts import Document, ExpertSet
from xelm.run.names import BASE
from xelm.run.records.manifest import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FOLDER = "log_probs"
SPLITS = ("valid", "test")
logger = logging.getLogger(__name__)


def heldout_log_probs(experts: ExpertSet, name: str, split: str, *, keep: bool = True) -> list[np.ndarray]:
    """Log-probabilities of a run's held-out text under one of its models.

    Args:
        experts: The run.
        name: Name of the model, which is loaded only if something must be measured.
        split: `valid` or `test`.
        keep: Whether to keep the values in the run's cache; false for a process that only reads the run.

    Returns:
        For each of `experts.heldout(split)`, in order, shape (its tokens - 1,), float32, nats.
    """
    return _heldout(experts, name, split, cache(lambda: experts.load_model(name)), keep)


def keep_log_probs(experts: ExpertSet, name: str, splits: Sequence[str]) -> None:
    """Measure and keep what is not kept yet of some splits under a model, which is loaded once at most."""
    load = cache(lambda: experts.load_model(name))
    for split in splits:
        _heldout(experts, name, split, load, keep=True)


def _heldout(
    experts: ExpertSet, name: str, split: str, load: Callable[[], PreTrainedModel], keep: bool
) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    model_print = _fingerprint(experts, name)
    for code, documents in _by_language(experts, split).items():
        file = experts.files.cache / _FOLDER / _file_name(name, model_print, code, split, documents)
        kept = _read(file, len(documents))
        if kept is None:
            kept = measure(experts, load(), documents, name)
            if keep:
                _write(file, kept)
        found += kept
    return found


def measure(
    experts: ExpertSet, model: PreTrainedModel, documents: Sequence[Document], name: str = BASE
) -> list[np.ndarray]:
    """Log-probabilities of any documents under a loaded model, which are not kept.

    Args:
        experts: The run.
        model: The model.
        documents: The documents.
        name: The model of the run whose tokenizer it reads with.
    """
    context = context_length(Base(model=str(experts.folder(BASE))))
    tokenizer = experts.tokenizer(name)
    if any(document.answer_at is not None for document in documents):
        scores = answer_log_probs(model, documents, tokenizer)
    else:
        scores = experts.objective.log_probs(model, [document.text for document in documents], tokenizer, context)
    return [log_probs_T.astype(np.float32) for log_probs_T in scores]


def forget_stale(experts: ExpertSet) -> None:
    """Remove values of models or text that the run no longer has, including those of earlier versions of experts."""
    prints = [(name, _fingerprint(experts, name)) for name in experts.models]
    for name in experts.names:
        for version in range(1, experts.files.num_versions(name) + 1):
            if entry := finished_entry(experts.files.previous(name, version)):
                prints.append((name, entry.fingerprint))
        if trained := experts.trained().entry_or_none(name):
            prints.append((name, trained.fingerprint))
    current = {
        _file_name(name, model_print, code, split, documents)
        for split in SPLITS
        for code, documents in _by_language(experts, split).items()
        for name, model_print in prints
    }
    for file in (experts.files.cache / _FOLDER).glob("*"):
        if file.name not in current:
            file.unlink()


def _by_language(experts: ExpertSet, split: str) -> dict[str, list[Document]]:
    documents: dict[str, list[Document]] = {}
    for document in experts.heldout(split):
        documents.setdefault(document.language, []).append(document)
    return documents


def _fingerprint(experts: ExpertSet, name: str) -> str | None:
    entry = experts.entry_or_none(name)
    return entry.weights_print if entry else None


def _file_name(name: str, model_print: str | None, code: str, split: str, documents: Sequence[Document]) -> str:
    key = fingerprint(model_print, [document.text for document in documents])
    return f"{name}--{code}--{split}--{key[:16]}.safetensors"


def _write(file: Path, log_probs: Sequence[np.ndarray]) -> None:
    from safetensors.numpy import save_file

    values = np.concatenate([*log_probs, np.zeros(0, dtype=np.float32)])
    lengths = np.array([len(log_probs_T) for log_probs_T in log_probs], dtype=np.int64)
    with atomic_write(file) as partial:
        save_file({"log_probs": values, "lengths": lengths}, partial, metadata={"sha256": _digest(values, lengths)})


def _read(file: Path, num_documents: int) -> list[np.ndarray] | None:
    """The values that were kept; None if there are none or they are damaged. Older files have no checksum."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return None
    try:
        with safe_open(file, "np") as stored:
            values, lengths = stored.get_tensor("log_probs"), stored.get_tensor("lengths")
            digest = (stored.metadata() or {}).get("sha256")
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        logger.warning("%s: damaged (%s). It is measured again.", file, error)
        return None
    shapes = (values.dtype, values.ndim, lengths.dtype, lengths.shape)
    whole = shapes == (np.float32, 1, np.int64, (num_documents,)) and lengths.sum() == len(values)
    whole = whole and lengths.min(initial=0) >= 0 and bool(np.isfinite(values).all())
    if not whole or digest not in (None, _digest(values, lengths)):
        logger.warning("%s: damaged, it holds other values than were measured. It is measured again.", file)
        return None
    return np.split(values, np.cumsum(lengths)[:-1])


def _digest(values: np.ndarray, lengths: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes() + lengths.tobytes()).hexdigest()
