"""Distances that the user brings: a matrix or vectors in a file, or vectors in memory (a model's own view)."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from clustering.distances.matrix import Distances
from clustering.errors import BadInput
from clustering.languages.codes import to_codes

_SYMMETRY_TOLERANCE = 1e-6


def load_distances(path: str | Path) -> Distances:
    """Read distances between languages, or vectors to take them from.

    CSV (first column: languages; first row: names of the columns). If the column names are the languages of
    the first column, the table is a distance matrix; otherwise each row is a language's vector. `.npz`:
    `languages` (text) with either `distances`, shape (L, L), or `vectors`, shape (L, D); no pickled objects.

    Distances above 1 are divided by the largest. Vectors go through `distances_from_vectors`.

    Args:
        path: A `.csv` or `.npz` file.

    Returns:
        The distances; coverage is 1 everywhere for a matrix, the vectors' size for vectors.

    Raises:
        BadInput: If the file is missing or malformed, or the matrix is not one of distances; the message
            names the file and the place.
    """
    file = Path(path)
    if not file.is_file():
        raise BadInput(f"{file}: no such file. Give a .csv or .npz with distances or vectors.")
    if file.suffix == ".npz":
        names, table, is_matrix = _read_npz(file)
    elif file.suffix == ".csv":
        names, table, is_matrix = _read_csv(file)
    else:
        raise BadInput(f"{file}: distances are read from .csv or .npz, not {file.suffix or 'a file without suffix'}.")
    try:
        codes = to_codes(names)
        if not is_matrix:
            return distances_from_vectors(dict(zip(codes, table, strict=True)), kind=file.name)
        return Distances(tuple(codes), _checked(table), np.ones(table.shape, dtype=np.int32), file.name)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None


def distances_from_vectors(
    vectors: Mapping[str, np.ndarray], *, centre: bool = True, kind: str = "vectors"
) -> Distances:
    """Distances between languages by the angle of their vectors, such as a model's mean hidden states.

    Args:
        vectors: Per language (code, tag or name) one vector of D numbers.
        centre: Subtract the mean over the languages first. Hidden states share one large common direction,
            next to which all languages look alike; without it use False.
        kind: Name for messages and files.

    Returns:
        (1 - cosine) / 2, in [0, 1]; coverage is D everywhere. Rows in the order given, on which
        values depend by rounding only.

    Raises:
        BadInput: If vectors differ in size, hold NaN or infinity, or are zero (after centring).
    """
    names = list(vectors)
    codes = to_codes(names)
    rows = [np.asarray(vectors[name], dtype=np.float64).ravel() for name in names]
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or 0 in sizes:
        raise BadInput(f"Vectors of one size are needed, these have {sorted(sizes)} numbers.")
    table_LD = np.stack(rows)
    if not np.isfinite(table_LD).all():
        bad = [names[row] for row in np.flatnonzero(~np.isfinite(table_LD).all(axis=1))]
        raise BadInput(f"The vectors of {', '.join(bad)} hold NaN or infinity.")
    if centre and len(names) > 1:
        order = np.argsort(codes)  # a sum's rounding depends on its order
        table_LD = table_LD - table_LD[order].mean(axis=0)
    norms = np.linalg.norm(table_LD, axis=1, keepdims=True)
    if (norms == 0).any():
        bad = [names[row] for row in np.flatnonzero(norms[:, 0] == 0)]
        raise BadInput(f"The vector of {', '.join(bad)} is zero{' after centring' if centre else ''}: it has no angle.")
    unit_LD = table_LD / norms
    values = np.clip((1.0 - unit_LD @ unit_LD.T) / 2, 0.0, 1.0)
    values = (values + values.T) / 2
    np.fill_diagonal(values, 0.0)
    return Distances(tuple(codes), values, np.full(values.shape, table_LD.shape[1], dtype=np.int32), kind)


def _read_csv(file: Path) -> tuple[list[str], np.ndarray, bool]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            lines = [(number, row) for number, row in enumerate(csv.reader(handle), start=1) if any(row)]
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: not valid UTF-8 at byte {error.start}.") from None
    if len(lines) < 2:
        raise BadInput(f"{file}: a row of column names and one row per language are needed.")
    header = [name.strip() for name in lines[0][1][1:]]
    names, rows = [], []
    for number, row in lines[1:]:
        if len(row) != len(header) + 1:
            raise BadInput(f"{file}, line {number}: {len(row)} columns, the first line has {len(header) + 1}.")
        try:
            rows.append([float(cell) for cell in row[1:]])
        except ValueError as error:
            raise BadInput(f"{file}, line {number}: {error}; every cell after the name is a number.") from None
        names.append(row[0].strip())
    if sorted(header) == sorted(names):
        columns = [header.index(name) for name in names]
        return names, np.array(rows)[:, columns], True
    return names, np.array(rows), False


def _read_npz(file: Path) -> tuple[list[str], np.ndarray, bool]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            keys = set(archive.files)
            if "languages" not in keys or not keys & {"distances", "vectors"}:
                raise BadInput(
                    f"{file}: holds {', '.join(sorted(keys))}; `languages` and `distances` or `vectors` are needed."
                )
            names = [str(name) for name in archive["languages"].ravel()]
            is_matrix = "distances" in keys
            table = np.asarray(archive["distances" if is_matrix else "vectors"], dtype=np.float64)
    except BadInput:
        raise
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadInput(f"{file}: not a readable npz file without pickled objects ({error}).") from None
    num_languages = len(names)
    if table.ndim != 2 or len(table) != num_languages or (is_matrix and table.shape[1] != num_languages):
        raise BadInput(f"{file}: {num_languages} languages, but the table has shape {table.shape}.")
    return names, table, is_matrix


def _checked(values: np.ndarray) -> np.ndarray:
    """A matrix scaled to [0, 1], made exactly symmetric."""
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise BadInput(f"row {row + 1}, column {column + 1} is not a finite number.")
    if (values < 0).any():
        row, column = np.argwhere(values < 0)[0]
        raise BadInput(f"row {row + 1}, column {column + 1} is {values[row, column]:g}; distances are not negative.")
    tolerance = _SYMMETRY_TOLERANCE * max(1.0, float(values.max(initial=0.0)))
    if np.abs(np.diagonal(values)).max(initial=0.0) > tolerance:
        raise BadInput("the diagonal is not zero: the distance of a language to itself is 0.")
    uneven = np.abs(values - values.T)
    if uneven.max(initial=0.0) > tolerance:
        row, column = np.unravel_index(np.argmax(uneven), uneven.shape)
        raise BadInput(f"not symmetric: row {row + 1}, column {column + 1} differs from its mirror image.")
    values = (values + values.T) / 2
    np.fill_diagonal(values, 0.0)
    return values / max(1.0, float(values.max(initial=0.0)))
