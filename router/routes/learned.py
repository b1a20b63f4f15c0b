"""Experts by what a run's losses on held-out documents have taught: which of them reads a text of this kind best.

As in c-BTM (Gururangan et al. 2023) and BTX (Sukhbaatar et al. 2024) the text itself chooses, so that domain and script
count and not the language alone; but what is learned are the models' own losses. A text is its TF-IDF point
(`clustering.plans.documents`); a ridge regression predicts by how much each model's loss on it differs from the loss
expected by its language. The correction is learned from documents and from their beginnings, since routes follow the
text as it grows.
Shape letters: `B` texts, `D` axes, `K` experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write, read_arrays, read_json, write_json
from clustering.plans.documents import TextSpace
from router.letters import plain_letters, utf8_bytes
from router.routes.affinity import softmax
from router.routes.weigh import Route

FORMAT_VERSION = 1
INDEX_FILE = "learned.json"
ARRAYS_FILE = "learned.safetensors"
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Of the ridge regression; the best one is found by cross-validation over documents."""
NUM_FOLDS = 5
BEGINNINGS = (20, 60, 200)
"""Characters of a document's beginnings that are learned from beside the whole."""
_LEAST_WEIGHT = 1e-12


@dataclass(frozen=True)
class Gain:
    """What the correction saves on documents that it was not learned from.

    Attributes:
        percent: Fall of the loss of the chosen experts, by the beginnings of a document and by the whole, in percent.
        error: Its standard error over documents.
        documents: Their number.
    """

    percent: float
    error: float
    documents: int

    @property
    def wins(self) -> bool:
        """Whether it surely saves something: by more than 1.64 standard errors, 95 % of cases."""
        return self.percent > 1.64 * self.error


@dataclass(frozen=True)
class LearnedWeights:
    """The correction of the experts' expected losses by the text.

    Attributes:
        space: The space of the points.
        slopes: Bits per byte of each expert along each axis, and a constant, shape (D + 1, K).
        experts: The K names.
        temperature: Of the weights: `RoutingRule.loss_temperature`, in bits per byte.
        gain: What it saves by cross-validation.
    """

    space: TextSpace
    slopes: np.ndarray
    experts: tuple[str, ...]
    temperature: float
    gain: Gain

    def corrections(self, texts: Sequence[str]) -> np.ndarray:
        """Bits per byte that each expert is expected to need beside what the language lets expect, shape (B, K)."""
        return np.asarray(_features(self.space, texts) @ self.slopes)

    def reweigh(self, routes: Sequence[Route], texts: Sequence[str], fallback: str = "ensemble") -> list[Route]:
        """Routes with their languages as they are, and weights corrected by the text.

        A text without letters keeps its weights, and so does one on which the identifier abstained, if an expert
        answers.

        Args:
            routes: Routes of B texts by language.
            texts: The B texts.
            fallback: As in `RoutingRule`.
        """
        if not routes or not self.gain.wins:
            return list(routes)
        found = []
        for route, text, bits_K in zip(routes, texts, self.corrections(texts), strict=True):
            if (route.abstained and fallback != "ensemble") or not plain_letters(text):
                found.append(route)
                continue
            weights_K = np.array([route.weights.get(name, 0.0) for name in self.experts])
            logits_K = np.log(weights_K.clip(_LEAST_WEIGHT)) - bits_K / self.temperature
            shares = dict(zip(self.experts, softmax(logits_K).tolist(), strict=True))
            weights = {name: share for name, share in shares.items() if share > 0}
            found.append(replace(route, weights=weights, reason=self._reason(route, weights)))
        return found

    def _reason(self, route: Route, weights: dict[str, float]) -> str:
        by_language, by_text = (max(w, key=lambda name: w[name]) for w in (route.weights, weights))
        if by_language == by_text:
            return route.reason
        return (
            f"{route.reason.removesuffix('.')}; but by the models' losses on held-out documents, {by_text} reads a "
            "text like this best."
        )

    def save(self, folder: str | Path) -> None:
        """Write two files into the folder of a run's router."""
        from safetensors.numpy import save

        arrays = {"idf": self.space.idf, "axes": self.space.axes, "slopes": self.slopes}
        with atomic_write(Path(folder) / ARRAYS_FILE) as partial:
            partial.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
        gain = {"percent": self.gain.percent, "error": self.gain.error, "documents": self.gain.documents}
        index = {"experts": list(self.experts), "temperature": self.temperature, "gain": gain}
        write_json(Path(folder) / INDEX_FILE, {"version": FORMAT_VERSION, **index})

    @classmethod
    def load(cls, folder: str | Path) -> LearnedWeights | None:
        """Read what `save` wrote; None for a run that weighs otherwise.

        Raises:
            BadInput: If a file is missing, damaged, or of another version.
        """
        path = Path(folder) / INDEX_FILE
        if not path.is_file():
            return None
        index = read_json(path)
        if not isinstance(index, dict) or index.get("version") != FORMAT_VERSION:
            raise BadInput(f"{path}: no learned weights of version {FORMAT_VERSION}. Train the run's router again.")
        arrays = read_arrays(Path(folder) / ARRAYS_FILE)
        try:
            found = index["gain"]
            gain = Gain(float(found["percent"]), float(found["error"]), int(found["documents"]))
            experts, temperature = tuple(map(str, index["experts"])), float(index["temperature"])
            space, slopes = TextSpace(arrays["idf"], arrays["axes"]), arrays["slopes"]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{folder}: {INDEX_FILE} and {ARRAYS_FILE} do not belong together ({error}).") from None
        fits = space.axes.shape[1:] == space.idf.shape and slopes.shape == (space.axes.shape[0] + 1, len(experts))
        if not fits or not temperature > 0 or not all(np.isfinite(array).all() for array in arrays.values()):
            raise BadInput(f"{folder}: {ARRAYS_FILE} is damaged. Restore it from a copy, or train the router again.")
        return cls(space, slopes, experts, temperature, gain)


def learn(
    texts: Sequence[str],
    losses_BK: np.ndarray,
    sizes_B: np.ndarray,
    expected: Sequence[np.ndarray],
    experts: Sequence[str],
    *,
    temperature: float,
    seed: int = 0,
) -> LearnedWeights:
    """Learn from documents that every model has read.

    Args:
        texts: B held-out documents, at least two.
        losses_BK: Each model's loss on each, in bits per byte.
        sizes_B: Bytes of each document.
        expected: The loss expected of each model by the language of each document's beginnings (`beginnings_of`) and of
            the whole, one array of shape (B, K) for each; a constant added to a row changes nothing.
        experts: The K names.
        temperature: See `LearnedWeights`.
        seed: Of the space and the folds.

    Raises:
        BadInput: If there are fewer documents than folds.
    """
    if len(texts) < NUM_FOLDS:
        raise BadInput(f"{len(texts)} held-out documents are too few to learn weights from: at least {NUM_FOLDS}.")
    space = TextSpace.of([utf8_bytes(text).decode() for text in texts], seed=seed)
    views = [_features(space, rows) for rows in beginnings_of(texts)]
    targets = [_centred(losses_BK - rows_BK) for rows_BK in expected]
    fold_B = np.random.default_rng(seed).permutation(np.arange(len(texts)) % NUM_FOLDS)
    best: tuple[float, Gain] | None = None
    for penalty in PENALTIES:
        chosen = [np.zeros(len(texts), dtype=np.int64) for _ in views]
        for fold in range(NUM_FOLDS):
            train_B, test_B = fold_B != fold, fold_B == fold
            slopes = _ridge([v[train_B] for v in views], [t[train_B] for t in targets], penalty)
            for chosen_B, expected_BK, view_BD in zip(chosen, expected, views, strict=True):
                chosen_B[test_B] = (expected_BK[test_B] + view_BD[test_B] @ slopes).argmin(axis=1)
        gain = _gain(losses_BK, sizes_B, [rows_BK.argmin(axis=1) for rows_BK in expected], chosen)
        if best is None or gain.percent > best[1].percent:
            best = penalty, gain
    assert best is not None  # there are penalties
    return LearnedWeights(space, _ridge(views, targets, best[0]), tuple(experts), temperature, best[1])


def beginnings_of(texts: Sequence[str]) -> list[list[str]]:
    """The beginnings of texts that are learned from, and last the texts as they are."""
    return [*([text[:length] for text in texts] for length in BEGINNINGS), list(texts)]


def _features(space: TextSpace, texts: Sequence[str]) -> np.ndarray:
    points_BD = space.points([utf8_bytes(text).decode() for text in texts])
    return np.concatenate([points_BD, np.ones((len(texts), 1))], axis=1)


def _ridge(views: Sequence[np.ndarray], targets: Sequence[np.ndarray], penalty: float) -> np.ndarray:
    """Slopes of least squares with a penalty on all of them, shape (D + 1, K)."""
    x, y = np.concatenate(views), np.concatenate(targets)
    return np.asarray(np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y))


def _centred(values_BK: np.ndarray) -> np.ndarray:
    return np.asarray(values_BK - values_BK.mean(axis=1, keepdims=True))


def _gain(
    losses_BK: np.ndarray, sizes_B: np.ndarray, before: Sequence[np.ndarray], after: Sequence[np.ndarray]
) -> Gain:
    """The gain of the experts chosen by each view of the documents, all views counting alike."""
    rows = np.arange(len(sizes_B))
    before_B, after_B = (
        sizes_B * np.mean([losses_BK[rows, one_B] for one_B in way], axis=0) for way in (before, after)
    )
    total, saved_B = float(before_B.sum()), before_B - after_B
    error = float(saved_B.std(ddof=1) * np.sqrt(len(saved_B)))
    return Gain(100 * float(saved_B.sum()) / total, 100 * error / total, len(saved_B))
