"""The arithmetic under `clustering.distances.uriel_kinds`, over whole tables at once.

Every table is kept in the order of `typology.languages()`, each language under the row that covers it best,
so that all languages are simply the whole table. Shapes: A and B rows, N languages, F features.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from clustering.distances import uriel as typology
from clustering.distances.distance import Measured, Missing
from clustering.languages.codes import codes_with_relatives

Rows = np.ndarray | slice
ALL = slice(None)


def rows_for(kind: str, codes: tuple[str, ...] | None) -> Rows:
    """Table rows of ISO 639-3 codes, or of all languages for None; raises like `typology_code`."""
    if codes is None or codes is typology.languages():  # the whole tables: no rows to select
        return ALL
    rows = typology.row_of()
    return np.array(
        [rows[code if code in rows else typology.typology_code(code, kind).uriel_code] for code in codes], dtype=int
    )


def filled_features(kind: str, codes: tuple[str, ...]) -> np.ndarray:
    """Values of a feature set, gaps filled by kNN, of languages that URIEL has; shape (A, F), in [0, 1]."""
    return _covered(typology.features().filled, kind)[rows_for(kind, codes)].astype(np.float64)


def by_features(
    kind: str, rows_A: Rows, rows_B: Rows, missing: Missing, *, generator: np.random.Generator | None = None
) -> Measured:
    """1 - cosine of a feature set between two lists of rows.

    Args:
        kind: One of `typology.FEATURE_PREFIXES`.
        rows_A: From `rows_for` with this kind.
        rows_B: From `rows_for` with this kind.
        missing: How unknown features count (`clustering.distances.kinds`).
        generator: Source of a bootstrap sample of the features. None: all features once.

    Returns:
        Distances, shape (A, B), in [0, 1] but for rounding; coverage, shape (A, B), int.
    """
    known, facts = _known(kind), _unit_features(kind) if missing == "knn" else _averages(kind)
    known_AF, known_BF, left_AF, right_BF = known[rows_A], known[rows_B], facts[rows_A], facts[rows_B]
    if generator is not None:
        drawn = generator.integers(known.shape[1], size=known.shape[1])
        known_AF, known_BF, left_AF, right_BF = (part[:, drawn] for part in (known_AF, known_BF, left_AF, right_BF))
        if missing == "knn":
            left_AF, right_BF = _to_unit(left_AF), _to_unit(right_BF)
    coverage = _products(known_AF, known_BF).astype(np.int32)
    if missing == "knn":
        return 1.0 - _products(left_AF, right_BF), coverage
    return _shared(left_AF, right_BF, known_AF, known_BF), coverage


def by_family(rows_A: Rows, rows_B: Rows) -> Measured:
    """1 - shared family nodes / geometric mean of (nodes + 1), the language itself being its last node.

    Returns:
        Distances, shape (A, B); coverage: the fewer nodes of the two, shape (A, B).
    """
    counts = family_entries()[2]
    left, right = counts[rows_A][:, None], counts[rows_B][None, :]
    return 1.0 - shared_family_nodes(rows_A, rows_B) / np.sqrt((left + 1.0) * (right + 1.0)), np.minimum(left, right)


def by_place(rows_A: Rows, rows_B: Rows) -> Measured:
    """Great circle between two lists of rows over half the globe, 1 where a place is unknown; coverage 0 or 1."""
    unit, located = _points()
    known = located[rows_A][:, None] & located[rows_B][None, :]
    cosines = np.clip(unit[rows_A] @ unit[rows_B].T, -1.0, 1.0)
    return np.where(known, np.arccos(cosines) / np.pi, 1.0), known.astype(np.int32)


def shared_family_nodes(rows_A: Rows, rows_B: Rows) -> np.ndarray:
    """How many family nodes two lists of rows (of `rows_for("genetic", …)`) share, shape (A, B), int."""
    rows, columns, counts = family_entries()
    num_nodes = len(typology.families().names)
    if isinstance(rows_A, np.ndarray) and len(rows_A) == 1:
        start, stop = np.searchsorted(rows, [rows_A[0], rows_A[0] + 1])
        mine = np.zeros(num_nodes, dtype=bool)
        mine[columns[start:stop]] = True
        return np.bincount(rows[mine[columns]], minlength=len(counts))[rows_B][None, :]
    from scipy.sparse import csr_array

    nodes = csr_array((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(len(counts), num_nodes))
    return np.asarray((nodes[rows_A] @ nodes[rows_B].T).toarray())


def _products(left_AF: np.ndarray, right_BF: np.ndarray) -> np.ndarray:
    """Dot product of each pair of rows, shape (A, B)."""
    if len(left_AF) == 1:  # one row is too little work to wake BLAS threads for: 12 ms on a busy machine, not 1
        return np.asarray(np.einsum("bf,f->b", right_BF, left_AF[0])[None, :])
    return np.asarray(left_AF @ right_BF.T)


def _shared(left_AF: np.ndarray, right_BF: np.ndarray, known_AF: np.ndarray, known_BF: np.ndarray) -> np.ndarray:
    """1 - cosine over the features known on both sides; unknowns come as 0 in `left_AF` and `right_BF`."""
    products = left_AF @ right_BF.T
    left_norms = np.square(left_AF) @ known_BF.T.astype(np.float64)
    right_norms = known_AF.astype(np.float64) @ np.square(right_BF).T
    norms = np.sqrt(left_norms * right_norms)
    cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    # Two languages that both know to have none of what they share are alike in it.
    cosines[(known_AF @ known_BF.T > 0) & (left_norms == 0) & (right_norms == 0)] = 1.0
    return np.asarray(1.0 - cosines)


@lru_cache(maxsize=8)
def _covered_rows(kind: str) -> np.ndarray:
    """For each language the row that covers it; only codes that have an alternative are looked up."""
    index = typology.row_of()
    rows = np.arange(len(index))
    for code in codes_with_relatives():
        if code in index:
            rows[index[code]] = index[typology.typology_code(code, kind).uriel_code]
    return rows


@lru_cache(maxsize=8)
def _unit_features(kind: str) -> np.ndarray:
    """kNN-filled features scaled to length 1, shape (N, F)."""
    return _to_unit(_covered(typology.features().filled, kind).astype(np.float64))


def _covered(table_NF: np.ndarray, kind: str) -> np.ndarray:
    """Columns of a feature set, each language under the row that covers it, shape (N, F); a copy."""
    columns = typology.features().columns(kind)
    neighbours = columns[-1] - columns[0] + 1 == len(columns)  # so they are in the file: no picking one by one
    part_NF = table_NF[:, columns[0] : columns[-1] + 1].copy() if neighbours else table_NF[:, columns]
    rows = _covered_rows(kind)
    moved = np.flatnonzero(rows != np.arange(len(rows)))
    part_NF[moved] = part_NF[rows[moved]]
    return part_NF


def _to_unit(rows_NF: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.einsum("nf,nf->n", rows_NF, rows_NF))[:, None]
    return rows_NF / np.where(norms > 0, norms, 1.0)


@lru_cache(maxsize=8)
def _known(kind: str) -> np.ndarray:
    """1 where a source knows the feature, shape (N, F); float so that a product counts."""
    return _covered(typology.features().known, kind).astype(np.float32)


@lru_cache(maxsize=8)
def _averages(kind: str) -> np.ndarray:
    return _covered(typology.features().averages, kind).clip(min=0.0)


@lru_cache(maxsize=1)
def _points() -> tuple[np.ndarray, np.ndarray]:
    table, rows = typology.places(), _covered_rows("geographic")
    return table.unit[rows], table.located[rows]


@lru_cache(maxsize=1)
def family_entries() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and nodes of the family table's entries, shape (E,), rows ascending; nodes per language, (N,)."""
    table, covered = typology.families(), _covered_rows("genetic")
    starts = np.searchsorted(table.rows, covered)
    counts = table.counts[covered]
    rows = np.repeat(np.arange(len(covered)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, table.columns[starts[rows] + within], counts
