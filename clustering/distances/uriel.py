"""URIEL's facts on 7,970 languages, read straight from lang2vec's npz files and kept in memory.

lang2vec itself is never imported (2 s, and it needs `pkg_resources`). Three tables, each loaded on first use
and sorted by ISO 639-3 code: features (syntax, phonology, inventory), family nodes, places on the globe.
Source: Littell et al. 2017, "URIEL and lang2vec" (https://aclanthology.org/E17-2002), CC BY-SA 4.0.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np

from clustering.cache import Arrays, kept_arrays
from clustering.distances.matrix import CoveredCode
from clustering.errors import BadInput
from clustering.languages.codes import macrolanguage_of, name_of, same_language_codes

# Feature name prefixes of each feature set; `featural` is URIEL's name for all of them together.
FEATURE_PREFIXES = {
    "syntactic": ("S_",),
    "phonological": ("P_",),
    "inventory": ("INV_",),
    "featural": ("S_", "P_", "INV_"),
}
BASE_KINDS = (*FEATURE_PREFIXES, "genetic", "geographic")
# Below this share of known features a member of a macrolanguage is read from the macrolanguage's row.
SPARSE_SHARE = 0.1
_CHUNK_BYTES = 1 << 18
_ANCHOR_STEP = 4  # every fourth of the 299 fixed points is plenty to find three coordinates


@dataclass(frozen=True)
class Features:
    """Feature values of N languages, rows in the order of `languages()`.

    Attributes:
        names: F feature names, such as `S_SVO`.
        averages: Mean over URIEL's sources, shape (N, F), in [0, 1]; -1 if no source knows the feature.
        filled: The same, but with URIEL's kNN predictions if no source knows, shape (N, F), in [0, 1].
        known: Whether a source knows the value, shape (N, F), bool.
    """

    names: tuple[str, ...]
    averages: np.ndarray
    filled: np.ndarray
    known: np.ndarray

    def columns(self, kind: str) -> np.ndarray:
        """Column numbers of a feature set, one of `FEATURE_PREFIXES`."""
        return np.flatnonzero([name.startswith(FEATURE_PREFIXES[kind]) for name in self.names])


@dataclass(frozen=True)
class Families:
    """The nodes of the family tree above each language, as a sparse 0/1 table.

    Attributes:
        names: M node names, such as `F_Germanic`.
        rows: Language row of each entry, shape (E,), ascending.
        columns: Node of each entry, shape (E,).
        counts: Nodes per language, shape (N,); 0 for isolates and where URIEL has no tree.
    """

    names: tuple[str, ...]
    rows: np.ndarray
    columns: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Places:
    """The places where languages are spoken.

    Attributes:
        unit: Points on the unit sphere, shape (N, 3); zero where the place is not known.
        located: Where it is known, shape (N,), bool.
    """

    unit: np.ndarray
    located: np.ndarray


@lru_cache(maxsize=1)
def languages() -> tuple[str, ...]:
    """ISO 639-3 codes of URIEL's languages, sorted; the row order of every table here."""
    with zipfile.ZipFile(_data_file("feature_averages.npz")) as archive, archive.open("langs.npy") as handle:
        return tuple(np.sort(np.lib.format.read_array(handle)).tolist())


@lru_cache(maxsize=1)
def row_of() -> dict[str, int]:
    """Row of each code of `languages()`."""
    return {code: row for row, code in enumerate(languages())}


def preload(kinds: Iterable[str]) -> None:
    """Load the tables behind those of `BASE_KINDS` at once; unpacking leaves Python free to use other cores."""
    loaders = {load for kind in kinds if kind in BASE_KINDS and (load := _loader(kind)).cache_info().currsize == 0}
    if len(loaders) > 1:
        with ThreadPoolExecutor(len(loaders)) as pool:
            for done in [pool.submit(load) for load in loaders]:
                done.result()


def _loader(kind: str) -> Any:
    return {"genetic": families, "geographic": places}.get(kind, features)


@lru_cache(maxsize=1)
def features() -> Features:
    """Syntax, phonology and inventory of all languages (about 0.1 s the first time)."""
    with np.load(_data_file("feature_averages.npz")) as archive:
        names = tuple(archive["feats"].tolist())
        averages = _in_order(archive["data"][:, :, 0], archive["langs"])
    with np.load(_data_file("feature_predictions.npz")) as archive:
        filled = _in_order(archive["data"][:, :, 0], archive["langs"])
    return Features(names, averages, filled, averages >= 0)


@lru_cache(maxsize=1)
def families() -> Families:
    """Family nodes of all languages (0.3 s the first time, 0.01 s once they are in the user's cache)."""
    path = _data_file("family_features.npz")
    name = f"families-{distribution('lang2vec').version}-{path.stat().st_size}"
    arrays = kept_arrays(name, lambda: _read_families(path), _are_families)
    return Families(tuple(arrays["names"].tolist()), arrays["rows"], arrays["columns"], arrays["counts"])


def _read_families(path: Path) -> Arrays:
    """The file unpacks to 118 MB of floats of which 1 in 700 is not zero, so it is read in pieces."""
    with np.load(path) as archive:
        names = archive["feats"]
        row_in_file = np.argsort(np.argsort(archive["langs"]))
    hits = []
    with zipfile.ZipFile(path) as archive_file, archive_file.open("data.npy") as handle:
        np.lib.format.read_magic(handle)
        _, _, dtype = np.lib.format.read_array_header_1_0(handle)
        start = 0
        while piece := handle.read(_CHUNK_BYTES):
            values = np.frombuffer(piece, dtype) != 0
            hits.append(np.flatnonzero(values) + start)
            start += len(values)
    file_rows, columns = np.divmod(np.concatenate(hits), len(names))
    rows = row_in_file[file_rows]
    order = np.lexsort((columns, rows))
    counts = np.bincount(rows, minlength=len(languages()))
    return {"names": names, "rows": rows[order], "columns": columns[order], "counts": counts}


def _are_families(arrays: Arrays) -> bool:
    if set(arrays) != {"names", "rows", "columns", "counts"}:
        return False
    num_entries = int(arrays["counts"].sum())
    return (len(arrays["rows"]), len(arrays["columns"]), len(arrays["counts"])) == (
        num_entries,
        num_entries,
        len(languages()),
    )


@lru_cache(maxsize=1)
def places() -> Places:
    """Points on the globe, worked out from URIEL's distances to 299 fixed points (about 0.1 s the first time).

    cos(arc to a fixed point) is the dot product of two unit vectors, so least squares over the fixed points
    gives each language's unit vector back; rows that fit no point of the sphere have no known place.
    """
    with np.load(_data_file("geocoord_features.npz")) as archive:
        order = np.argsort(archive["langs"])
        arcs = archive["data"][order, ::_ANCHOR_STEP, 0]
        names = archive["feats"][::_ANCHOR_STEP].tolist()
    anchors = np.array([name.split("_")[1:] for name in names], dtype=np.float64)
    anchors_3A = to_unit(anchors[:, 0], anchors[:, 1]).T
    unit = np.cos(arcs * np.float32(np.pi)).astype(np.float64) @ np.linalg.pinv(anchors_3A)
    norms = np.linalg.norm(unit, axis=1)
    located = np.abs(norms - 1) < 0.01
    unit[located] /= norms[located, None]
    unit[~located] = 0.0
    return Places(unit, located)


def to_unit(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Unit vectors, shape (n, 3), of points in degrees."""
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def coordinates(code: str) -> tuple[float, float] | None:
    """Latitude and longitude in degrees of an ISO 639-3 code, within about 1 degree; None where unknown."""
    row = _row_or_none(code, "geographic")
    if row is None or not places().located[row]:
        return None
    x, y, z = places().unit[row]
    return float(np.degrees(np.arcsin(z))), float(np.degrees(np.arctan2(y, x)))


def family_of(code: str) -> tuple[str, ...]:
    """Names of the family nodes above a language, such as (`Indo-European`, `Germanic`); () where unknown."""
    row = _row_or_none(code, "genetic")
    if row is None:
        return ()
    table = families()
    start, stop = np.searchsorted(table.rows, [row, row + 1])
    return tuple(table.names[column].removeprefix("F_") for column in table.columns[start:stop])


@lru_cache(maxsize=65536)
def typology_code(code: str, kind: str = "syntactic") -> CoveredCode:
    """Find the row of URIEL that has the facts of a language.

    Canonical codes are often URIEL's emptiest rows (`lvs`, `azj`, `ory`, `fil` know no syntax; `lav`, `aze`,
    `ori`, `tgl` do). Of the codes of the same language the one with most facts is taken, the code itself on
    ties. A member of a macrolanguage that has next to nothing of its own (less than a tenth) is read from the
    macrolanguage's row (`pbt` -> `pus`). It is never another language.

    Args:
        code: ISO 639-3.
        kind: One of `BASE_KINDS`; languages can be covered for one kind and not for another.

    Returns:
        The row and its number of facts; `num_known` is 0 if URIEL knows nothing of this kind.

    Raises:
        BadInput: If the language has no row at all in URIEL, or `kind` is unknown.
    """
    count = _counter(kind)
    rows = row_of()
    candidates = [candidate for candidate in same_language_codes(code) if candidate in rows]
    best = max(candidates, key=count, default=None)  # max keeps the first, which is the code itself
    macro = macrolanguage_of(code)
    sparse = best is None or count(best) < SPARSE_SHARE * _total(kind, best)
    if sparse and macro in rows and (best is None or count(macro) > count(best)):
        best = macro
    if best is None:
        raise BadInput(
            f"URIEL has no row for {name_of(code)} ({code}), so nothing is known of its typology. "
            "Leave it out, place it in a cluster by hand, or give your own distances."
        )
    return CoveredCode(code, best, count(best), _total(kind, best))


def _row_or_none(code: str, kind: str) -> int | None:
    try:
        return row_of()[typology_code(code, kind).uriel_code]
    except BadInput:  # a language that URIEL lacks altogether
        return None


def _counter(kind: str) -> Callable[[str], int]:
    if kind in FEATURE_PREFIXES:
        known = _known_counts(kind)
    elif kind == "genetic":
        known = families().counts
    elif kind == "geographic":
        known = places().located
    else:
        raise BadInput(f"Unknown kind of typology {kind!r}. Choose one of: {', '.join(BASE_KINDS)}.")
    return lambda code: int(known[row_of()[code]])


@lru_cache(maxsize=8)
def _known_counts(kind: str) -> np.ndarray:
    table = features()
    return np.asarray(table.known[:, table.columns(kind)].sum(axis=1))


@lru_cache(maxsize=8)
def _num_columns(kind: str) -> int:
    return len(features().columns(kind))


def _total(kind: str, code: str) -> int:
    if kind in FEATURE_PREFIXES:
        return _num_columns(kind)
    return max(1, _counter(kind)(code))


def _in_order(data_NF: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Rows sorted by code, without a copy if the file has them sorted already."""
    order = np.argsort(codes)
    return data_NF if np.array_equal(order, np.arange(len(order))) else data_NF[order]


@lru_cache(maxsize=1)
def _data_folder() -> Path:
    # Not find_spec: lang2vec also installs a script lang2vec.py, which hides the package from programs in bin/.
    try:
        package = distribution("lang2vec")
    except PackageNotFoundError:
        raise BadInput(
            "URIEL's tables come with the package lang2vec, which is not installed: pip install lang2vec"
        ) from None
    return Path(str(package.locate_file("lang2vec/data")))


def _data_file(name: str) -> Path:
    path = _data_folder() / name
    if not path.is_file():
        raise BadInput(
            f"{path}: this lang2vec lacks the file; xelm reads lang2vec 1.1.2 or newer: pip install -U lang2vec"
        )
    return path
