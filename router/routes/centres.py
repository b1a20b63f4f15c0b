"""Experts by the text itself (c-BTM): the nearer a text to the centre of an expert's text, the more weight it has.

Gururangan et al. 2023, "Scaling Expert Language Models with Unsupervised Domain Discovery"
(https://arxiv.org/abs/2303.14177): w_k is proportional to exp(-D_k^p / T), with D_k the squared Euclidean distance to
centre k; their code takes p = 2 and T = 0.1. A text is the TF-IDF point of its character n-grams
(`clustering.plans.documents`), so no language need be identified.
Shape letters: `B` texts, `K` experts, `L` languages, `D` axes, `G` n-grams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write, read_arrays, read_json, write_json
from clustering.languages.codes import match, name_of
from clustering.plans.documents import TextSpace
from router.letters import plain_letters, utf8_bytes
from router.routes.affinity import softmax
from router.routes.weigh import Route

FORMAT_VERSION = 1
INDEX_FILE = "centres.json"
ARRAYS_FILE = "centres.safetensors"
POWER = 2.0
TEMPERATURE = 0.1


@dataclass(frozen=True)
class TextCentres:
    """The mean point of each language's documents, from which the centre of any group of languages follows.

    Attributes:
        space: The space of the points.
        means: Language -> mean point of its documents, shape (D,).
        num_documents: Language -> number of documents in its mean.
        power: p, > 0.
        temperature: T, > 0.
    """

    space: TextSpace
    means: dict[str, np.ndarray]
    num_documents: dict[str, int]
    power: float = POWER
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        for name in ("power", "temperature"):
            if not 0 < getattr(self, name) < np.inf:
                raise BadInput(f"{name}={getattr(self, name)} must be a finite number greater than 0.")

    @classmethod
    def train(
        cls,
        texts: Mapping[str, Sequence[str]],
        *,
        power: float = POWER,
        temperature: float = TEMPERATURE,
        seed: int = 0,
    ) -> TextCentres:
        """Make the space of all documents, and the languages' means.

        Args:
            texts: Language code -> its documents, in memory.
            power: p.
            temperature: T.
            seed: Of the space's axes.

        Raises:
            BadInput: If there is no text, or a number is not above 0.
        """
        space = TextSpace.of([_clean(page) for code in sorted(texts) for page in texts[code]], seed=seed)
        found = cls(space, {}, {}, power, temperature)
        for code in sorted(texts):
            found = found.with_language(code, texts[code])
        return found

    def with_language(self, code: str, texts: Sequence[str]) -> TextCentres:
        """The same with one more language; space and other means stay, so text in a new script may be hard to place.

        Raises:
            BadInput: If it has no documents.
        """
        if not texts:
            raise BadInput(f"No text for: {code}. Give it at least one document.")
        mean = self.space.points([_clean(page) for page in texts]).mean(axis=0)
        return replace(self, means={**self.means, code: mean}, num_documents={**self.num_documents, code: len(texts)})

    def without_language(self, code: str) -> TextCentres:
        """The same without one language."""
        means = {known: mean for known, mean in self.means.items() if known != code}
        return replace(self, means=means, num_documents={known: self.num_documents[known] for known in means})

    def centres(self, plan: Mapping[str, Sequence[str]]) -> np.ndarray:
        """The mean point of all documents of each expert's languages, shape (K, D).

        Args:
            plan: Expert -> its languages.

        Raises:
            BadInput: If a language has no mean.
        """
        rows = []
        for codes in plan.values():
            known = [match(code, self.means) for code in codes]
            if lacking := [code for code, found in zip(codes, known, strict=True) if found is None]:
                raise BadInput(f"{INDEX_FILE} has no text of {', '.join(lacking)}. Train the run's router again.")
            counts = np.array([self.num_documents[code] for code in known if code is not None], dtype=np.float64)
            points = np.stack([self.means[code] for code in known if code is not None])
            rows.append(counts @ points / counts.sum())
        return np.stack(rows)

    def distances(self, texts: Sequence[str], plan: Mapping[str, Sequence[str]]) -> np.ndarray:
        """Squared Euclidean distances of texts to the experts' centres, shape (B, K)."""
        points_BD, centres_KD = self.space.points([_clean(text) for text in texts]), self.centres(plan)
        squares = (points_BD**2).sum(axis=1)[:, None] - 2 * points_BD @ centres_KD.T + (centres_KD**2).sum(axis=1)
        return np.asarray(squares.clip(min=0.0))

    def weights(self, distances_BK: np.ndarray) -> np.ndarray:
        """Weights of the experts, shape (B, K), rows summing to 1.

        Args:
            distances_BK: Squared distances.
        """
        return softmax(-(distances_BK**self.power) / self.temperature)

    def save(self, folder: str | Path) -> None:
        """Write two files into the folder of a run's router; each appears complete or not at all."""
        from safetensors.numpy import save

        arrays = {"idf": self.space.idf, "axes": self.space.axes}
        arrays |= {f"mean.{code}": mean for code, mean in self.means.items()}
        with atomic_write(Path(folder) / ARRAYS_FILE) as partial:
            partial.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
        index = {
            "version": FORMAT_VERSION,
            "power": self.power,
            "temperature": self.temperature,
            "documents": self.num_documents,
        }
        write_json(Path(folder) / INDEX_FILE, index)

    @classmethod
    def load(cls, folder: str | Path) -> TextCentres:
        """Read what `save` wrote.

        Raises:
            BadInput: If a file is missing, damaged, or of another version.
        """
        path = Path(folder) / INDEX_FILE
        index = read_json(path)
        if not isinstance(index, dict) or index.get("version") != FORMAT_VERSION:
            raise BadInput(f"{path}: no centres of version {FORMAT_VERSION}. Train the run's router again.")
        arrays = read_arrays(Path(folder) / ARRAYS_FILE)
        try:
            counts = {str(code): int(number) for code, number in index["documents"].items()}
            means = {code: np.asarray(arrays[f"mean.{code}"], dtype=np.float64) for code in counts}
            space = TextSpace(arrays["idf"], arrays["axes"])
            found = cls(space, means, counts, float(index["power"]), float(index["temperature"]))
            fits = space.axes.shape[1:] == space.idf.shape and min(counts.values(), default=0) > 0
            fits = fits and all(mean.shape == space.axes.shape[:1] for mean in means.values())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"{folder}: {INDEX_FILE} and {ARRAYS_FILE} do not belong together ({error}).") from None
        if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
            raise BadInput(f"{folder}: {ARRAYS_FILE} is damaged. Restore it from a copy, or train the router again.")
        return found


def load_centres(folder: str | Path) -> TextCentres | None:
    """The centres of a run whose experts are weighed by them; None for a run that weighs by language."""
    return TextCentres.load(folder) if (Path(folder) / INDEX_FILE).is_file() else None


def reweigh(
    routes: Sequence[Route],
    texts: Sequence[str],
    centres: TextCentres,
    plan: Mapping[str, Sequence[str]],
    fallback: str = "ensemble",
) -> list[Route]:
    """Routes with their languages as they are, and the weights by the centres.

    A text without letters has equal weights.

    Args:
        routes: Routes of B texts by language.
        texts: The B texts.
        centres: Centres of the run's text.
        plan: Expert -> its languages.
        fallback: As in `RoutingRule`; an expert that answers because the identifier abstained still does.
    """
    if not routes:
        return []
    distances_BK = centres.distances(texts, plan)
    silent_B = np.array([not plain_letters(text) for text in texts])
    distances_BK[silent_B] = 1.0
    weights_BK = centres.weights(distances_BK)
    names = list(plan)
    found = []
    for route, near_K, weights_K, silent in zip(routes, distances_BK, weights_BK, silent_B, strict=True):
        if route.abstained and fallback != "ensemble":
            found.append(route)
            continue
        shares = {name: float(weight) for name, weight in zip(names, weights_K, strict=True) if weight > 0}
        reason = route.reason if route.abstained or silent else _reason(route, names, near_K)
        found.append(replace(route, weights=shares, reason=reason))
    return found


def _reason(route: Route, names: Sequence[str], distances_K: np.ndarray) -> str:
    order = np.argsort(distances_K, kind="stable")
    nearest = f"its text is nearest to that of {names[order[0]]} (distance {distances_K[order[0]]:.2f}"
    second = f"; then {names[order[1]]}, {distances_K[order[1]]:.2f})" if len(names) > 1 else ")"
    return f"{name_of(str(route.language))} ({route.language}), {route.confidence:.0%} sure; {nearest}{second}."


def _clean(text: str) -> str:
    """The text without lone surrogates, which have no UTF-8."""
    return utf8_bytes(text).decode()
