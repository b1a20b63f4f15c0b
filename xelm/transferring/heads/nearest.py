"""The nearest vector of the other language, for retrieval: nothing is learnt."""

from __future__ import annotations

import numpy as np

from xelm.transferring.heads.head import Desk, Head, Lesson, head, softmax

_NEIGHBOURS = 10


@head
class Nearest(Head):
    """The sentence whose vector has the greatest cosine."""

    name = "nearest"
    is_frozen = True
    is_random = False

    def answer(self, lesson: Lesson, desk: Desk) -> dict[str, np.ndarray]:
        found = {}
        for test, rows in lesson.tests.items():
            store = desk.store(lesson.answerers[test])
            there = desk.store(lesson.readers[0])
            ours, theirs = store.take(rows), there.take(lesson.rows)
            for step in lesson.steps:
                ours = step.apply(ours, rows, store)
                theirs = step.apply(theirs, lesson.rows, there)
            found[test] = softmax(self._similarity(_cosines(ours, theirs)))
        return found

    def _similarity(self, cosines: np.ndarray) -> np.ndarray:
        return cosines


@head
class Csls(Nearest):
    """The same, less the mean similarity to the ten nearest of either side, so that no sentence is near to all.

    2 cos(x, y) - r(x) - r(y) (CSLS: Conneau et al. 2018).
    """

    name = "csls"

    def _similarity(self, cosines: np.ndarray) -> np.ndarray:
        return csls(cosines)


def csls(cosines: np.ndarray, neighbours: int = _NEIGHBOURS) -> np.ndarray:
    """Cosines, shape (N, M), less the mean of the nearest neighbours' on both sides."""
    rows = np.sort(cosines, axis=1)[:, -neighbours:].mean(axis=1, keepdims=True)
    columns = np.sort(cosines, axis=0)[-neighbours:].mean(axis=0, keepdims=True)
    return np.asarray(2 * cosines - rows - columns)


def _cosines(ours: object, theirs: object) -> np.ndarray:
    from sklearn.preprocessing import normalize

    product = normalize(ours) @ normalize(theirs).T
    return np.asarray(product if isinstance(product, np.ndarray) else product.toarray(), dtype=np.float64)
