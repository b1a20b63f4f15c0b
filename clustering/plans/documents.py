"""Languages as points by their text (after c-BTM): TF-IDF, SVD, unit length; even groups of them.

Gururangan et al. 2023, "Scaling Expert Language Models with Unsupervised Domain Discovery"
(https://arxiv.org/abs/2303.14177). Their code counts words split on spaces and fails below 50,000 documents; here
character n-grams are counted, so that Chinese, Japanese and Thai work, and a few documents are enough. They cluster
documents; here each language keeps one expert, so the means of its documents are grouped.
Shapes: B documents, D dimensions after the SVD, G hashed n-grams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clustering.distances.matrix import Distances
from clustering.distances.own import distances_from_vectors
from clustering.errors import BadInput, refuse_text
from clustering.languages.codes import to_codes
from clustering.plans.hierarchy import balance_by_languages, cut, linkage_of
from clustering.plans.methods import Evidence, Grouping, method

_NUM_HASHES = 1 << 15
_MAX_NGRAM = 3
_MAX_DIMENSIONS = 100


def text_distances(texts: Mapping[str, Sequence[str]], *, seed: int = 0) -> Distances:
    """Distances between languages by the mean TF-IDF point of their documents.

    This compares spelling, so languages in different scripts are all far apart.

    Args:
        texts: Per language (code, tag or name) at least one document; in memory, so pass a sample of a large corpus.
        seed: Of the SVD.

    Raises:
        BadInput: If a language has no text.
    """
    for pages in texts.values():
        refuse_text("texts", pages)
    documents = dict(zip(to_codes(texts), map(list, texts.values()), strict=True))
    if empty := [code for code, pages in documents.items() if not any(page.strip() for page in pages)]:
        raise BadInput(f"No text for: {', '.join(empty)}. Give each language at least one document.")
    ordered = {code: documents[code] for code in sorted(documents)}
    points_BD = text_points([page for pages in ordered.values() for page in pages], seed=seed)
    ends = np.cumsum([len(pages) for pages in ordered.values()])
    means = {
        code: points_BD[end - len(pages) : end].mean(axis=0)
        for (code, pages), end in zip(ordered.items(), ends, strict=True)
    }
    return distances_from_vectors(means, centre=False, kind="tf-idf")


@dataclass(frozen=True)
class TextSpace:
    """The space of documents: weights of the n-grams and the axes onto which they fall.

    Attributes:
        idf: Inverse document frequencies, shape (G,), float32.
        axes: The first axes of the documents that it was made from, shape (D, G), float32.
    """

    idf: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str], *, seed: int = 0) -> TextSpace:
        """The space of B documents.

        Args:
            texts: B documents.
            seed: Of the SVD.

        Raises:
            BadInput: If there is no text in any.
        """
        return cls._made(_ngram_counts(texts), seed)

    @classmethod
    def _made(cls, counts: Any, seed: int) -> TextSpace:
        num_texts = counts.shape[0]
        idf = np.log((1 + num_texts) / (1 + np.bincount(counts.indices, minlength=_NUM_HASHES))) + 1
        return cls(idf.astype(np.float32), _axes(counts.multiply(idf).tocsr(), seed))

    def points(self, texts: Sequence[str]) -> np.ndarray:
        """Documents as points of length 1, shape (B, D); 0 for one without text, or with none that the axes know."""
        return self._points(_ngram_counts(texts))

    def _points(self, counts: Any) -> np.ndarray:
        points_BD = np.asarray(counts.multiply(self.idf).tocsr() @ self.axes.T, dtype=np.float64)
        norms = np.linalg.norm(points_BD, axis=1, keepdims=True)
        return np.asarray(np.divide(points_BD, norms, out=np.zeros_like(points_BD), where=norms > 0))


def text_points(texts: Sequence[str], *, seed: int = 0) -> np.ndarray:
    """Documents as points: sublinear TF-IDF of character n-grams, its first axes, of length 1.

    Args:
        texts: B documents.
        seed: Of the SVD.

    Returns:
        Shape (B, D); 0 for a document without text.

    Raises:
        BadInput: If there is no text in any.
    """
    counts = _ngram_counts(texts)
    return TextSpace._made(counts, seed)._points(counts)


@method("tfidf", about="even clusters by the languages' text", needs="texts")
def group_balanced(evidence: Evidence, k: int) -> Grouping:
    """Ward linkage, then groups evened out: what `balance="languages"` does; meant for `text_distances`."""
    values = evidence.distances
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
    """The first axes of the documents, shape (D, G)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    if weighted.nnz == 0:
        raise BadInput("The documents hold no text to cluster.")
    dimensions = max(1, min(_MAX_DIMENSIONS, weighted.shape[0] - 1))
    svd = TruncatedSVD(dimensions, random_state=seed).fit(normalize(weighted))
    return np.asarray(svd.components_.astype(np.float32))
