"""First embeddings of new pieces, made from those of the pieces that the model knows.

Shape letters: `N` new pieces, `V` known rows, `H` hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xelm.vocabulary.tokenizer_table import fresh_backend, pieces_of

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

_NEAREST = 10
_SHARPNESS = 10.0
"""How much more the most similar pieces count: weights are softmax(similarity × this)."""
_LONGEST_GRAM = 4
_AT_ONCE = 256
Weights = Callable[[Mapping[str, Any], Sequence[str]], "csr_matrix"]


def mean_weights(table: Mapping[str, Any], pieces: Sequence[str]) -> csr_matrix:
    """Each new piece is the mean of the pieces that the tokenizer has cut it into until now, (N, V)."""
    from scipy.sparse import csr_matrix

    model, size = fresh_backend(table).model, max(pieces_of(table)) + 1
    rows, columns, values = list[int](), list[int](), list[float]()
    for row, piece in enumerate(pieces):
        found = [token.id for token in model.tokenize(_bare(table, piece))]
        rows += [row] * len(found)
        columns += found
        values += [1 / len(found)] * len(found)
    return csr_matrix((values, (rows, columns)), shape=(len(pieces), size))


def similar_weights(table: Mapping[str, Any], pieces: Sequence[str]) -> csr_matrix:
    """Each new piece is a mean of the known pieces nearest in spelling, weighted by similarity, (N, V).

    After FOCUS (Dobler and de Melo 2023), with the spelling (n-grams of letters, weighted by their rarity) in place of
    auxiliary embeddings, which need more text than a new language has. A piece that shares no n-gram with any known
    one is the mean of its old pieces.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = pieces_of(table)
    ids = np.array(list(known))
    grams = TfidfVectorizer(analyzer="char", ngram_range=(1, _LONGEST_GRAM), lowercase=False, sublinear_tf=True)
    known_VG = grams.fit_transform(known.values())
    new_NG = grams.transform(pieces)
    rows, columns, values = list[int](), list[int](), list[float]()
    for start in range(0, len(pieces), _AT_ONCE):
        for row, similarity_V in enumerate((new_NG[start : start + _AT_ONCE] @ known_VG.T).toarray(), start):
            nearest = np.argsort(-similarity_V, kind="stable")[:_NEAREST]
            nearest = nearest[similarity_V[nearest] > 0]
            weights = np.exp(_SHARPNESS * similarity_V[nearest])
            rows += [row] * len(nearest)
            columns += ids[nearest].tolist()
            values += (weights / weights.sum()).tolist() if len(nearest) else []
    found = csr_matrix((values, (rows, columns)), shape=(len(pieces), int(ids.max()) + 1))
    alone = np.flatnonzero(np.diff(found.indptr) == 0)
    if len(alone):
        found = found.tolil()
        found[alone] = mean_weights(table, [pieces[row] for row in alone.tolist()])
    return csr_matrix(found)


WAYS: dict[str, Weights] = {"mean": mean_weights, "similar": similar_weights}
"""The ways to make first embeddings; the better one on valid text is taken."""


def mixed_rows(known: torch.Tensor, weights_NV: csr_matrix) -> torch.Tensor:
    """Means of known rows, (N, H)."""
    import torch

    rows_VH = known.detach().float().cpu().numpy()[: weights_NV.shape[1]]
    mixed = weights_NV[:, : len(rows_VH)] @ rows_VH
    return torch.from_numpy(np.asarray(mixed, dtype=np.float32)).to(known.dtype)


def random_rows(known: torch.Tensor, number: int, seed: int) -> torch.Tensor:
    """Rows drawn with the mean and deviation of the known ones, (N, H): what a library does by itself."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    rows_VH = known.detach().float().cpu()
    drawn = torch.randn((number, rows_VH.shape[1]), generator=generator)
    return (rows_VH.mean(dim=0) + rows_VH.std(dim=0) * drawn).to(known.dtype)


def _bare(table: Mapping[str, Any], piece: str) -> str:
    """A piece as it stands in a word, without the mark that it continues one."""
    prefix = table["model"].get("continuing_subword_prefix")
    return piece.removeprefix(prefix) if prefix else piece
