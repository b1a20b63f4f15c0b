"""How well vectors of translations find each other, and how much of the language is in them.

Shape letters: N pairs, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

WAYS = ("raw", "centred", "csls", "centred_csls", "procrustes")
"""`raw`: cosine; `centred`: each language's mean taken away first; `csls`: less the mean of the nearest neighbours
(Conneau et al. 2018); `procrustes`: centred, then rotated onto the pivot."""


@dataclass(frozen=True)
class Hits:
    """Which sentences found their translation, each of shape (N,)."""

    to_pivot: np.ndarray
    from_pivot: np.ndarray


@dataclass(frozen=True)
class Vectors:
    """Vectors of the pairs of one language.

    Attributes:
        ours: Of tested sentences, (N, D).
        theirs: Of their translations, (N, D).
        fit_ours: Of sentences to learn from, (M, D).
        fit_theirs: Of their translations, (M, D).
    """

    ours: np.ndarray
    theirs: np.ndarray
    fit_ours: np.ndarray
    fit_theirs: np.ndarray


def retrieval(vectors: Vectors) -> dict[str, Hits]:
    """Which sentences are nearest to their translation, by each of `WAYS`; no `procrustes` without pairs to fit it."""
    from xelm.transferring.heads.nearest import csls

    raw = unit(vectors.ours) @ unit(vectors.theirs).T
    centred = Centred.of(vectors)
    ours, theirs = unit(vectors.ours - centred.ours), unit(vectors.theirs - centred.theirs)
    moved = ours @ theirs.T
    found = {"raw": raw, "centred": moved, "csls": csls(raw), "centred_csls": csls(moved)}
    if len(vectors.fit_ours):
        rotation = rotation_of(vectors.fit_ours - centred.ours, vectors.fit_theirs - centred.theirs)
        found["procrustes"] = ours @ rotation @ theirs.T
    return {way: _hits(similarity) for way, similarity in found.items()}


def _hits(similarity_NN: np.ndarray) -> Hits:
    own = np.arange(len(similarity_NN))
    return Hits(similarity_NN.argmax(axis=1) == own, similarity_NN.argmax(axis=0) == own)


@dataclass(frozen=True)
class Centred:
    """The means of both sides, shape (D,), of the sentences to learn from; without such, of the tested ones."""

    ours: np.ndarray
    theirs: np.ndarray

    @classmethod
    def of(cls, vectors: Vectors) -> Centred:
        """Take the means."""
        if len(vectors.fit_ours):
            return cls(vectors.fit_ours.mean(axis=0), vectors.fit_theirs.mean(axis=0))
        return cls(vectors.ours.mean(axis=0), vectors.theirs.mean(axis=0))


def rotation_of(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The rotation of one side that brings its unit vectors nearest to the other's (orthogonal Procrustes), (D, D)."""
    from scipy.linalg import orthogonal_procrustes

    rotation, _ = orthogonal_procrustes(unit(ours), unit(theirs))
    return np.asarray(rotation)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, in float64; a row of zeros stays."""
    wide = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(length == 0, 1, length)


def leakage(fit: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray], *, centred: bool) -> float:
    """How often a linear classifier names the language of an unread sentence, in the mean over languages.

    Chance is 1 / languages: vectors that hold nothing of the language give that.

    Args:
        fit: Language -> vectors to learn from, (M, D).
        held: Language -> vectors to answer, (N, D).
        centred: Whether the mean of each language's `fit` is taken away first.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    codes = sorted(fit)

    def joined(parts: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([parts[code] - (fit[code].mean(axis=0) if centred else 0) for code in codes])

    def labels(parts: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.repeat(np.arange(len(codes)), [len(parts[code]) for code in codes])

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000, class_weight="balanced"))
    model.fit(joined(fit), labels(fit))
    return float(balanced_accuracy_score(labels(held), model.predict(joined(held))))
