"""The arrays of the installed langid, read once and kept where reading them again takes no time.

langid unpacks its model in two to three seconds, more than loading a small expert takes. A copy of the arrays as they
are used here, for this version of langid, is kept in the user's cache folder (`$XDG_CACHE_HOME/xelm` or
`~/.cache/xelm`, 12 MB). Where that cannot be written, langid is read each time.
"""

from __future__ import annotations

import logging
import os
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from clustering.files import atomic_write

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
    try:
        copy = _copy_file()
    except RuntimeError:  # a user without a home
        return read_langid()
    if copy.is_file():
        try:
            return _read(copy)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            logger.debug("%s cannot be used (%s): made anew", copy, error)
    model = read_langid()
    try:
        _write(copy, model)
    except OSError as error:
        logger.debug("%s cannot be written (%s): langid is read each time", copy, error)
    return model


def read_langid() -> LangidModel:
    """langid's model out of the package itself, in seconds."""
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


def _copy_file() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "xelm" / f"langid-{version('langid')}-{_FORMAT_VERSION}.npz"


def _read(file: Path) -> LangidModel:
    with np.load(file, allow_pickle=False) as arrays:
        model = LangidModel(
            classes=tuple(str(c) for c in arrays["classes"]),
            next_state=arrays["next_state"],
            state_scores=arrays["state_scores"],
            log_prior=arrays["log_prior"],
        )
    num_states, num_classes = model.state_scores.shape
    if (len(model.next_state), len(model.classes), len(model.log_prior)) != (
        num_states * 256,
        num_classes,
        num_classes,
    ):
        raise ValueError("its arrays do not fit each other")
    return model


def _write(file: Path, model: LangidModel) -> None:
    with atomic_write(file) as partial, partial.open("wb") as handle:
        np.savez(
            handle,
            classes=np.array(model.classes),
            next_state=model.next_state,
            state_scores=model.state_scores,
            log_prior=model.log_prior,
        )
