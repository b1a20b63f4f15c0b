"""A linear head on vectors of a model that does not change, or on n-grams."""

from __future__ import annotations

from typing import Any

import numpy as np

from xelm.transferring.features.encoder import Matrix
from xelm.transferring.heads.head import Desk, Head, Lesson, head, softmax

_RIDGE_STRENGTH = 1.0
_WORD_STRENGTH = 1e-2
_LOGISTIC_STRENGTH = 0.05


@head
class Frozen(Head):
    """Logistic regression on vectors of texts; ridge regression on classes for n-grams and for words, which are many.

    Dense vectors are standardised first, by the rows that are learnt from.
    """

    name = "head"
    is_frozen = True
    is_random = False

    def key(self) -> list[Any]:
        return [self.name, self.settings.strength]

    def answer(self, lesson: Lesson, desk: Desk) -> dict[str, np.ndarray]:
        vectors = self._vectors(lesson, desk)
        classes = lesson.classes()
        known = np.flatnonzero(classes >= 0)
        model = self._model(vectors, lesson.task.unit == "word")
        model.fit(vectors[known], classes[known])
        found = {}
        for test, rows in lesson.tests.items():
            store = desk.store(lesson.answerers[test])
            tested = _changed(store.take(rows), lesson, rows, store)
            found[test] = _probabilities(model, tested, len(lesson.labels))
        return found

    def _vectors(self, lesson: Lesson, desk: Desk) -> Matrix:
        """Vectors of the rows that are learnt from, each under the model that reads it."""
        readers = list(dict.fromkeys(lesson.readers))
        if len(readers) == 1:
            store = desk.store(readers[0])
            return _changed(store.take(lesson.rows), lesson, lesson.rows, store)
        parts: dict[int, np.ndarray] = {}
        for reader in readers:
            places = [place for place, name in enumerate(lesson.readers) if name == reader]
            rows, store = [lesson.rows[place] for place in places], desk.store(reader)
            vectors, begin = _changed(store.take(rows), lesson, rows, store), 0
            for place, row in zip(places, rows, strict=True):
                parts[place] = vectors[begin : begin + row.num_units]
                begin += row.num_units
        return np.concatenate([parts[place] for place in range(len(lesson.rows))])

    def _model(self, vectors: Matrix, are_words: bool) -> Any:
        from sklearn.linear_model import LogisticRegression, RidgeClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        given = self.settings.strength
        if not isinstance(vectors, np.ndarray):
            return RidgeClassifier(alpha=1 / (given or _RIDGE_STRENGTH))
        if are_words:
            return make_pipeline(StandardScaler(), RidgeClassifier(alpha=1 / (given or _WORD_STRENGTH)))
        return make_pipeline(StandardScaler(), LogisticRegression(C=given or _LOGISTIC_STRENGTH, max_iter=2000))


def _changed(vectors: Matrix, lesson: Lesson, rows: Any, store: Any) -> Matrix:
    for step in lesson.steps:
        vectors = step.apply(vectors, rows, store)
    return vectors


def _probabilities(model: Any, vectors: Matrix, num_classes: int) -> np.ndarray:
    """Of all classes; one that no row taught has 0."""
    if hasattr(model, "predict_proba"):
        own = np.asarray(model.predict_proba(vectors))
    else:
        scores = np.asarray(model.decision_function(vectors))
        own = softmax(np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores)
    found = np.zeros((len(own), num_classes))
    found[:, model.classes_] = own
    return found
