"""The arrays of the installed langid, read once and kept in a cache that is fast to read.

langid unpacks its model in two to three seconds, more than loading a small expert takes. The arrays as they are used
here are kept in the user's cache folder (`clustering.cache`, 12 MB).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.metadata import version

import numpy as np

from clustering.cache import Arrays, kept_arrays

logger = logging.getLogger(__name__)
_FORMAT_VERSION = 2


@dataclass(frozen=True)
class LangidModel:
    """langid's naive Bayes model over an automaton of byte n-grams, S states.

    Attributes:
        classes: ISO 639-1 codes.
        next_state: Shape (S * 256,), indexed by state * 256 + byte.
        state_scores: Shape (S, classes): what one visit of a state adds to each class's log-likelihood, in nats.
        log_prior: Shape (classes,).
    """

    classes: tuple[str, ...]
    next_state: np.ndarray
    state_scores: np.ndarray
    log_prior: np.ndarray


@lru_cache(maxsize=1)
def load_langid() -> LangidModel:
    """langid's model, once per process."""
    name = f"langid-{version('langid')}-{_FORMAT_VERSION}"
    arrays = kept_arrays(name, lambda: _to_arrays(read_langid()), _fit_each_other)
    classes = tuple(str(c) for c in arrays.pop("classes"))
    return LangidModel(classes, **arrays)


def read_langid() -> LangidModel:
    """Read langid's model from the package itself, which takes seconds."""
    from langid import langid

    source = langid.LanguageIdentifier.from_modelstring(langid.model)
    num_states = len(source.tk_nextmove) // 256
    next_state = np.asarray(source.tk_nextmove, dtype=np.min_scalar_type(num_states))
    state_scores = np.zeros((num_states, len(source.nb_classes)), dtype=np.float64)
    for state, features in source.tk_output.items():
        state_scores[state] = source.nb_ptc[list(features)].sum(axis=0)
    logger.debug("langid: %d languages, %d states", len(source.nb_classes), num_states)
    return LangidModel(
        classes=tuple(str(c) for c in source.nb_classes),
        next_state=next_state,
        state_scores=state_scores,
        log_prior=np.asarray(source.nb_pc, dtype=np.float64),
    )


def _to_arrays(model: LangidModel) -> Arrays:
    return {**vars(model), "classes": np.array(model.classes)}


def _fit_each_other(arrays: Arrays) -> bool:
    if set(arrays) != {field.name for field in fields(LangidModel)}:
        return False
    num_states, num_classes = arrays["state_scores"].shape
    lengths = (len(arrays["next_state"]), len(arrays["classes"]), len(arrays["log_prior"]))
    return lengths == (num_states * 256, num_classes, num_classes)
