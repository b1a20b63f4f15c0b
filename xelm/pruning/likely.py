"""Pieces that some languages' text will use though the text at hand does not: learned from the pieces that it does.

No finite text uses every piece of its languages. What those pieces have in common is in their embeddings, where a model
keeps languages apart, and in their spelling. So a small classifier for each language learns which pieces of half the
vocabulary the language's text uses, and gives a chance to those of the other half.

Shape letters: `V` pieces, `F` features, `H` hidden size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

_LONGEST_GRAM = 4
_STRENGTH = 0.002
_ITERATIONS = 60
_FEWEST_USED = 20
"""Used pieces that a classifier needs in each half."""


def likely_order(
    pieces_V: Sequence[str],
    embeddings_VH: np.ndarray,
    prior_V: np.ndarray,
    words: Mapping[str, Mapping[str, int]],
    used: Mapping[str, set[int]],
) -> np.ndarray:
    """Order pieces by how many of the languages probably use them.

    Args:
        pieces_V: The pieces.
        embeddings_VH: Their embeddings.
        prior_V: How common each is over all languages, where the tokenizer says so (a Unigram piece's score, the
            rank of a merge); greater is more common.
        words: Language -> words of its text, spelled as the pieces are, with their counts.
        used: Language -> the places in `pieces_V` that its text uses.

    Returns:
        The chance of each piece, summed over languages, shape (V,); 0 for pieces with letters that no language uses,
        and for all where the text is too short to learn.
    """
    common = np.column_stack([prior_V, [len(piece) for piece in pieces_V], embeddings_VH])
    spelled = [_spelling(pieces_V, counts) for counts in words.values()]
    features_VF = _standard(np.column_stack([common, *spelled]))
    total_V = np.zeros(len(pieces_V))
    for language, places in used.items():
        labels_V = np.zeros(len(pieces_V), dtype=bool)
        labels_V[list(places)] = True
        letters = {letter for word in words[language] for letter in word}
        spelled_V = np.array([letters.issuperset(piece) for piece in pieces_V])
        total_V[spelled_V] += _chances(features_VF[spelled_V], labels_V[spelled_V])
    return total_V


def _chances(features_VF: np.ndarray, labels_V: np.ndarray) -> np.ndarray:
    """The chance that each piece is used, from a classifier that has not seen the piece."""
    from sklearn.linear_model import LogisticRegression

    halves_V = np.random.default_rng(0).integers(0, 2, len(labels_V)).astype(bool)
    chances_V = np.zeros(len(labels_V))
    for half_V in (halves_V, ~halves_V):
        if min(labels_V[half_V].sum(), (~labels_V[half_V]).sum()) >= _FEWEST_USED:
            model = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS)
            model.fit(features_VF[half_V], labels_V[half_V])
            chances_V[~half_V] = model.predict_proba(features_VF[~half_V])[:, 1]
    return chances_V


def _spelling(pieces_V: Sequence[str], words: Mapping[str, int]) -> np.ndarray:
    """How usual the letters of each piece are in a language: mean and least log count of its n-grams, for each n."""
    columns = []
    for length in range(1, _LONGEST_GRAM + 1):
        grams: Counter[str] = Counter()
        for word in words:
            grams.update(word[i : i + length] for i in range(len(word) - length + 1))
        logs = {gram: math.log1p(count) for gram, count in grams.items()}
        rows = [[logs.get(p[i : i + length], 0.0) for i in range(len(p) - length + 1)] or [0.0] for p in pieces_V]
        columns += [[sum(row) / len(row) for row in rows], [min(row) for row in rows]]
    return np.array(columns).T


def _standard(values_VF: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1."""
    centred = values_VF - values_VF.mean(axis=0)
    return np.asarray(centred / (values_VF.std(axis=0) + 1e-9), dtype=np.float32)
