"""Clusters of documents by their text (after c-BTM): TF-IDF, SVD, unit length, balanced k-means.

Gururangan et al. 2023, "Scaling Expert Language Models with Unsupervised Domain Discovery"
(https://arxiv.org/abs/2303.14177). Theirs counts words split on spaces and fails below 50,000 documents; here
character n-grams are counted, so that Chinese, Japanese and Thai work, and ten documents are enough.
Shapes: B documents, K clusters, D dimensions after the SVD, G hashed n-grams.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from clustering.distances.matrix import Distances
from clustering.distances.own import distances_from_vectors
from clustering.errors import BadInput
from clustering.files import atomic_write
from clustering.languages.codes import to_code
from clustering.plans.hierarchy import balance_by_languages, cut, linkage_of
from clustering.plans.methods import Grouping, method

FORMAT_VERSION = 1
_NUM_HASHES = 1 << 15
_MAX_NGRAM = 3
_MAX_DIMENSIONS = 100
_MAX_ROUNDS = 50
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DocumentClusters:
    """A fitted clustering of documents.

    Attributes:
        idf: Inverse document frequency per hashed n-gram, shape (G,).
        components: Axes of the SVD, shape (D, G).
        centres: Cluster centres, shape (K, D).
    """

    idf: np.ndarray
    components: np.ndarray
    centres: np.ndarray

    @classmethod
    def fit(cls, texts: Sequence[str], k: int, *, seed: int = 0) -> DocumentClusters:
        """Cluster documents into groups whose sizes differ by at most one (while fitting).

        Args:
            texts: At least K documents, in any languages and scripts; in memory, so pass a sample of a large
                corpus.
            k: Number of clusters, >= 1.
            seed: Of the first centres and of the SVD.

        Raises:
            BadInput: If there are fewer documents than clusters, or no text in them.
        """
        if not 1 <= k <= len(texts):
            raise BadInput(f"k={k} does not fit {len(texts)} documents. Choose 1 to {len(texts)}.")
        counts = _ngram_counts(texts)
        idf = np.log((1 + len(texts)) / (1 + np.bincount(counts.indices, minlength=_NUM_HASHES))) + 1
        components = _axes(counts.multiply(idf).tocsr(), seed)
        fitted = cls(idf.astype(np.float32), components, np.zeros((k, len(components)), dtype=np.float32))
        points_BD = fitted.embed(texts)
        labels = _balanced_kmeans(points_BD, k, np.random.default_rng(seed))
        centres = np.stack([points_BD[labels == number].mean(axis=0) for number in range(k)])
        return cls(fitted.idf, components, centres.astype(np.float32))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Points of documents, shape (B, D), of length 1 (or 0 for a text without any known n-gram)."""
        weighted = _ngram_counts(texts).multiply(self.idf).tocsr()
        points_BD = np.asarray(weighted @ self.components.T, dtype=np.float64)
        norms = np.linalg.norm(points_BD, axis=1, keepdims=True)
        return np.divide(points_BD, norms, out=np.zeros_like(points_BD), where=norms > 0)

    def squared_distances(self, texts: Sequence[str]) -> np.ndarray:
        """Squared Euclidean distance of documents to the centres, shape (B, K)."""
        return _squared(self.embed(texts), self.centres)

    def assign(self, texts: Sequence[str]) -> np.ndarray:
        """Nearest cluster of each document, shape (B,), without regard to balance; ties keep the lower."""
        return self.squared_distances(texts).argmin(axis=1)

    def weights(self, texts: Sequence[str], *, temperature: float = 0.1, power: float = 2.0) -> np.ndarray:
        """Weight of each cluster's expert: exp(-D^power / temperature), D the squared distance, rows sum to 1.

        Args:
            texts: B documents or prompts.
            temperature: > 0; small trusts the nearest cluster alone.
            power: > 0; 2 and temperature 0.1 are the c-BTM authors' values.

        Returns:
            Shape (B, K).

        Raises:
            BadInput: If an argument is not greater than 0.
        """
        if not (temperature > 0 and power > 0):
            raise BadInput(f"temperature={temperature} and power={power} must be greater than 0.")
        logits_BK = -(self.squared_distances(texts) ** power) / temperature
        weights_BK = np.exp(logits_BK - logits_BK.max(axis=1, keepdims=True))
        return weights_BK / weights_BK.sum(axis=1, keepdims=True)

    def save(self, path: str | Path) -> None:
        """Write an `.npz` that appears whole."""
        about = json.dumps({"format_version": FORMAT_VERSION, "max_ngram": _MAX_NGRAM})
        with atomic_write(path) as partial, partial.open("wb") as handle:
            np.savez_compressed(
                handle, about=np.array(about), idf=self.idf, components=self.components, centres=self.centres
            )

    @classmethod
    def load(cls, path: str | Path) -> DocumentClusters:
        """Read what `save` wrote.

        Raises:
            BadInput: If the file is missing, damaged or of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                about = json.loads(str(archive["about"]))
                loaded = cls(archive["idf"], archive["components"], archive["centres"])
        except FileNotFoundError:
            raise BadInput(f"{path}: no such file.") from None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadInput(f"{path}: not document clusters, or damaged ({error}).") from None
        if about != {"format_version": FORMAT_VERSION, "max_ngram": _MAX_NGRAM}:
            raise BadInput(f"{path}: made by another version ({about}). Fit the document clusters again.")
        return loaded


def text_distances(texts: Mapping[str, Sequence[str]], *, seed: int = 0) -> Distances:
    """Distances between languages by the mean TF-IDF point of their documents.

    This compares spelling, so languages in different scripts are all far apart.

    Args:
        texts: Per language (code, tag or name) at least one document.
        seed: Of the SVD.

    Raises:
        BadInput: If a language has no text.
    """
    documents = {to_code(language): list(pages) for language, pages in texts.items()}
    if empty := [code for code, pages in documents.items() if not any(page.strip() for page in pages)]:
        raise BadInput(f"No text for: {', '.join(empty)}. Give each language at least one document.")
    ordered = {code: documents[code] for code in sorted(documents)}
    fitted = DocumentClusters.fit([page for pages in ordered.values() for page in pages], 1, seed=seed)
    means = {code: fitted.embed(pages).mean(axis=0) for code, pages in ordered.items()}
    return distances_from_vectors(means, centre=False, kind="tf-idf")


@method("tfidf")
def group_balanced(values: np.ndarray, k: int) -> Grouping:
    """Ward linkage, then groups evened out: what `balance="languages"` does; meant for `text_distances`."""
    merges = linkage_of(values, "ward")
    return Grouping(balance_by_languages(values, cut(merges, len(values), k)), merges)


def _ngram_counts(texts: Sequence[str]) -> Any:
    """Sublinear counts of hashed character n-grams, sparse, shape (B, G)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hasher = HashingVectorizer(
        analyzer="char_wb", ngram_range=(1, _MAX_NGRAM), n_features=_NUM_HASHES, norm=None, alternate_sign=False
    )
    counts = hasher.transform(texts)
    counts.data = 1 + np.log(counts.data)
    return counts


def _axes(weighted: Any, seed: int) -> np.ndarray:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    if weighted.nnz == 0:
        raise BadInput("The documents hold no text to cluster.")
    dimensions = max(1, min(_MAX_DIMENSIONS, weighted.shape[0] - 1))
    svd = TruncatedSVD(dimensions, random_state=seed).fit(normalize(weighted))
    return svd.components_.astype(np.float32)


def _squared(points_BD: np.ndarray, centres_KD: np.ndarray) -> np.ndarray:
    squares = np.square(points_BD).sum(axis=1)[:, None] - 2 * points_BD @ centres_KD.T
    return np.maximum(squares + np.square(centres_KD).sum(axis=1), 0.0)


def _balanced_kmeans(points_BD: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Labels of a k-means whose clusters hold floor(B / K) or one more, shape (B,)."""
    centres_KD = _spread_centres(points_BD, k, generator)
    labels = np.full(len(points_BD), -1)
    for _ in range(_MAX_ROUNDS):
        new_labels = _fill(_squared(points_BD, centres_KD))
        if np.array_equal(new_labels, labels):
            break
        labels = new_labels
        centres_KD = np.stack([points_BD[labels == number].mean(axis=0) for number in range(k)])
    else:
        logger.info("document clusters still moved after %d rounds", _MAX_ROUNDS)
    return labels


def _spread_centres(points_BD: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """First centres far from one another (k-means++)."""
    chosen = [int(generator.integers(len(points_BD)))]
    gaps = _squared(points_BD, points_BD[chosen])[:, 0]
    while len(chosen) < k:
        total = gaps.sum()
        chances = gaps / total if total > 0 else None  # all documents alike: any will do
        chosen.append(int(generator.choice(len(points_BD), p=chances)))
        gaps = np.minimum(gaps, _squared(points_BD, points_BD[chosen[-1:]])[:, 0])
    return points_BD[chosen]


def _fill(distances_BK: np.ndarray) -> np.ndarray:
    """Give each document the nearest cluster with room, those with most to lose first, shape (B,)."""
    num_documents, k = distances_BK.shape
    seats, larger = divmod(num_documents, k)  # `larger` clusters may take one more
    preferences = np.argsort(distances_BK, axis=1, kind="stable")
    loss = distances_BK.mean(axis=1) - distances_BK.min(axis=1)
    sizes = np.zeros(k, dtype=int)
    labels = np.empty(num_documents, dtype=int)
    for document in np.argsort(-loss, kind="stable"):
        room = seats + 1 if np.count_nonzero(sizes > seats) < larger else seats
        wanted = preferences[document]
        labels[document] = wanted[np.argmax(sizes[wanted] < room)]
        sizes[labels[document]] += 1
    return labels
