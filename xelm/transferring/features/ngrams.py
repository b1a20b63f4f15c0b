"""Hashed letter n-grams: what a task's words give away without any model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xelm.transferring.features.encoder import ENCODERS, Encoder, Matrix, Words

if TYPE_CHECKING:
    from xelm.transferring.recipe import TaskBase

_RANGE = (3, 4)
_BUCKETS = 2**18
_WORD_RANGE = (1, 4)


class NgramEncoder(Encoder):
    """Letters in runs of three and four within words, hashed into 262,144 numbers; square roots of counts, unit length.

    A word of a sentence is its runs of one to four letters, and the words before and after it whole.
    """

    is_kept = False
    is_sparse = True
    key = "ngrams-1"

    def texts(self, texts: Sequence[str]) -> Matrix:
        return _hashed("char_wb", _RANGE, texts)

    def words(self, sentences: Words) -> Matrix:
        from scipy.sparse import hstack

        flat = [word for sentence in sentences for word in sentence]
        before = [word for sentence in sentences for word in ("<s>", *sentence[:-1])]
        after = [word for sentence in sentences for word in (*sentence[1:], "</s>")]
        around = [_hashed("word", (1, 1), near, buckets=2**16) * 0.5 for near in (before, after)]
        return hstack([_hashed("char", _WORD_RANGE, [f"^{word}$" for word in flat]), *around]).tocsr()

    def pairs(self, first: Matrix, second: Matrix) -> Matrix:
        from scipy.sparse import hstack

        return hstack([first, second, abs(first - second), first.multiply(second)]).tocsr()


@ENCODERS.named("ngrams")
def ngrams(settings: TaskBase) -> Encoder:
    """The encoder of `features = "ngrams"`."""
    return NgramEncoder()


def _hashed(analyzer: str, runs: tuple[int, int], texts: Sequence[str], buckets: int = _BUCKETS) -> Matrix:
    import numpy as np
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    options = {"token_pattern": r"\S+"} if analyzer == "word" else {}
    vectorizer = HashingVectorizer(
        analyzer=analyzer, ngram_range=runs, n_features=buckets, norm=None, alternate_sign=False, **options
    )
    counts = vectorizer.transform(texts)
    counts.data = np.sqrt(counts.data)
    return normalize(counts)
