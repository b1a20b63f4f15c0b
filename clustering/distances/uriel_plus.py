"""URIEL+ as another source of distances: URIEL with the newer SAPHON and Grambank, for languages that they cover.

The tables are read straight from the package urielplus (an extra), which is never imported: its own import sets
up logging for the whole program and copies files about, and its integration of the databases takes minutes where
reading takes a second. What is built here is what its `integrate_custom_databases("UPDATED_SAPHON", "GRAMBANK")`
builds, rules for redundant features included. Its other databases stay out: APiCS and eWAVE describe creoles and
dialects of English in features of their own, and BDPROTO files reconstructed ancestors under living languages.

Unlike the default of `clustering.distances.kinds` nothing is predicted: a pair is compared on what both really have,
and coverage counts that. Rows are ISO 639-3 codes; Grambank's glottocodes are translated by the package's own table.
Shapes: L languages asked for, N = 7,970 languages, F features.
Source: Khan et al. 2025, "URIEL+" (https://aclanthology.org/2025.coling-main.463), CC BY-SA 4.0.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np

from clustering.distances.distance import Distance, Measured, Missing, distance
from clustering.distances.matrix import CoveredCode
from clustering.distances.uriel import FEATURE_PREFIXES, SPARSE_SHARE
from clustering.errors import BadInput
from clustering.files import read_json
from clustering.languages.codes import macrolanguage_of, name_of, same_language_codes

NAME = "uriel+"
"""Name of these distances; `uriel+:syntactic` for one feature set."""
PREFIXES = {**FEATURE_PREFIXES, "morphological": ("M_",), "featural": ("S_", "P_", "INV_", "M_")}
_UNKNOWN = -1
_Columns = dict[str, np.ndarray]


@distance(NAME, *(f"{NAME}:{features}" for features in PREFIXES if features != "featural"))
class UrielPlusDistance(Distance):
    """The angle between the features of two languages in URIEL+, as its `new_distance` measures it.

    `uriel+` takes all features in one vector (`featural`), `uriel+:syntactic`, `:phonological`, `:inventory` and
    `:morphological` one set. Values: angle / right angle over the features that both languages have, 1 where they
    share none; coverage: how many these are. A language with none of the properties compared is at distance 1 from one
    that has some (URIEL+ takes it to have a little of each).
    """

    about = "URIEL with Grambank and the newer SAPHON; needs the extra urielplus"

    def measure(
        self, languages: tuple[str, ...], *, missing: Missing = "knn", generator: np.random.Generator | None = None
    ) -> Measured:
        """As `Distance.measure`.

        Raises:
            BadInput: If urielplus is not installed, or a language has no feature of this kind in URIEL+.
        """
        rows = [_row_of_language(code, self.features) for code in languages]
        if absent := [code for code, row in zip(languages, rows, strict=True) if row is None]:
            named = ", ".join(f"{name_of(code)} ({code})" for code in absent)
            raise BadInput(
                f"URIEL+ has no {self.features} features of: {named}. Leave these out, or measure the default, "
                "combined, which fills in from related and neighbouring languages."
            )
        values_LF = _values(self.features)[np.array(rows, dtype=int)]
        if generator is not None:
            values_LF = values_LF[:, generator.integers(values_LF.shape[1], size=values_LF.shape[1])]
        known, positive = (values_LF != _UNKNOWN).astype(np.float64), (values_LF == 1).astype(np.float64)
        coverage, products, norms = known @ known.T, positive @ positive.T, positive @ known.T
        cosines = np.divide(products, np.sqrt(norms * norms.T), out=np.zeros_like(products), where=norms * norms.T > 0)
        cosines[(coverage > 0) & (norms == 0) & (norms.T == 0)] = 1.0  # alike in having none of it
        return np.arccos(np.clip(cosines, 0.0, 1.0)) * 2 / np.pi, coverage.astype(np.int32)

    def coverage(self, languages: tuple[str, ...]) -> dict[str, CoveredCode]:
        """Per language the row that stands for it, and how many features URIEL+ has there; without absent ones."""
        table, found = _features(), {}
        num_total = _values(self.features).shape[1]
        for code in languages:
            if (row := _row_of_language(code, self.features)) is not None:
                num_known = int(_known_counts(self.features)[row])
                found[code] = CoveredCode(code, table.codes[row], num_known, num_total)
        return found

    @property
    def features(self) -> str:
        """The feature set: `featural` for all."""
        return self.name.partition(":")[2] or "featural"


@dataclass(frozen=True)
class _Features:
    """URIEL+'s features: codes and names of rows and columns; values 0, 1 or unknown, shape (N, F), int8."""

    codes: tuple[str, ...]
    row_of: dict[str, int]
    names: tuple[str, ...]
    values: np.ndarray


@lru_cache(maxsize=8)
def _values(kind: str) -> np.ndarray:
    """Columns of a feature set, shape (N, part of F)."""
    table = _features()
    return table.values[:, [name.startswith(PREFIXES[kind]) for name in table.names]]


@lru_cache(maxsize=8)
def _known_counts(kind: str) -> np.ndarray:
    return np.asarray((_values(kind) != _UNKNOWN).sum(axis=1))


def _row_of_language(code: str, kind: str) -> int | None:
    """The row that really knows a language, chosen as `typology.typology_code` does; None without any feature."""
    counts, rows = _known_counts(kind), _features().row_of
    best = max((rows[same] for same in same_language_codes(code) if same in rows), key=counts.__getitem__, default=None)
    macro = rows.get(macrolanguage_of(code) or "")
    enough = SPARSE_SHARE * _values(kind).shape[1]
    if macro is not None and (best is None or counts[best] < min(enough, counts[macro])):
        best = macro
    return best if best is not None and counts[best] > 0 else None


@lru_cache(maxsize=1)
def _features() -> _Features:
    """Every source merged into one table; a feature is present (1) if at least one source says so."""
    with np.load(_data_file("original_uriel/features.npz")) as archive:
        codes, names, sources = (tuple(archive[key].tolist()) for key in ("langs", "feats", "sources"))
        data_SFN = np.ascontiguousarray(archive["data"].astype(np.int8).T)
    columns = {source: dict(zip(names, table, strict=True)) for source, table in zip(sources, data_SFN, strict=True)}
    row_of = {code: row for row, code in enumerate(codes)}
    saphon, updated = _read_source(
        "saphon_data.csv", "iso_code", {code: [row] for code, row in row_of.items()}, len(codes)
    )
    columns["UPDATED_SAPHON"] = columns.pop("PHOIBLE_SAPHON")
    for name in saphon.keys() & columns["UPDATED_SAPHON"].keys():
        columns["UPDATED_SAPHON"][name][updated] = saphon[name][updated]
    rows_of_glottocode: dict[str, list[int]] = {}
    for code, others in _read_rows("uriel_glottocode_map.csv", "iso_code"):
        if code in row_of:
            rows_of_glottocode.setdefault(others["glottocode"].strip(), []).append(row_of[code])
    columns["GRAMBANK"], _ = _read_source("grambank_data.csv", "language_id", rows_of_glottocode, len(codes))
    merged = _consolidate(columns, read_json(_data_file("urielplus_csvs/feature_mappings.json")), len(codes))
    return _Features(codes, row_of, tuple(merged), np.stack(list(merged.values()), axis=1))


def _consolidate(columns: dict[str, _Columns], rules: list[dict[str, Any]], num_languages: int) -> _Columns:
    """Merge sources and apply URIEL+'s rules: SVO, SOV, … become "subject before verb", and are dropped."""
    unknown = np.full(num_languages, _UNKNOWN, dtype=np.int8)
    for rule, target in _targets(rules, "exact_collapse"):
        if (source := columns.get(rule["source_layer"])) is None:
            continue
        operands = re.findall(r"[^,()\s]+", target["expression"].removeprefix("OR"))
        parts = np.stack([source.get(operand, unknown) for operand in operands])
        all_absent = np.where((parts == 0).all(axis=0), 0, _UNKNOWN)
        collapsed = np.where((parts == 1).any(axis=0), 1, all_absent).astype(np.int8)
        source[target["feature_id"]] = np.maximum(source.get(target["feature_id"], unknown), collapsed)
    merged: _Columns = {}
    for source in columns.values():
        for name, column in source.items():
            merged[name] = np.maximum(merged.get(name, unknown), column)
    changed = True
    while changed:  # one implication may trigger another
        changed = False
        for rule, target in _targets(rules, "positive_implication"):
            signs = [feature["id"] for feature in rule["source_features"]]
            if target["feature_id"] not in merged or any(sign not in merged for sign in signs):
                continue
            consequent = merged[target["feature_id"]]
            implied = np.any([merged[sign] == 1 for sign in signs], axis=0) & (consequent != 1)
            consequent[implied] = 1
            changed |= bool(implied.any())
    dropped = _redundant(rules)
    return {name: column for name, column in merged.items() if name not in dropped}


def _targets(rules: list[dict[str, Any]], relationship: str) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    for rule in rules:
        if rule["relationship"] == relationship:
            yield from ((rule, target) for target in rule["targets"] if target["matrix"] == "typological")


def _redundant(rules: list[dict[str, Any]]) -> set[str]:
    """Features that follow from others."""
    redundant, kept = set(), set()
    for rule in rules:
        features = rule["source_features"]
        redundant |= {item["id"] for item in features if item["namespace"] == "removed_urielplus_operand"}
        if rule["disposition"] == "represented":
            kept |= {target["feature_id"] for target in rule["targets"] if target["matrix"] == "typological"}
        else:
            redundant |= set(rule["bundled_columns"])
    return redundant - kept


def _read_source(file: str, key: str, rows_of: dict[str, list[int]], num_languages: int) -> tuple[_Columns, list[int]]:
    """Features of a table under the rows of its languages, and which rows these are; other languages are left out."""
    read = [(rows_of[code], values) for code, values in _read_rows(file, key) if code in rows_of]
    names = [name for name in read[0][1] if name.startswith(PREFIXES["featural"])]
    table_NF = np.full((num_languages, len(names)), _UNKNOWN, dtype=np.int8)
    for rows, values in read:
        table_NF[rows] = [int(float(values[name])) for name in names]
    return dict(zip(names, np.ascontiguousarray(table_NF.T), strict=True)), [row for rows, _ in read for row in rows]


def _read_rows(file: str, key: str) -> Iterable[tuple[str, dict[str, str]]]:
    """Rows of a table as (value of the key column, the other columns)."""
    with _data_file(f"urielplus_csvs/{file}").open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            yield row.pop(key).strip(), row


def _data_file(name: str) -> Path:
    try:
        package = distribution("urielplus")
    except PackageNotFoundError:
        raise BadInput(
            "Distances of URIEL+ need the package urielplus: pip install 'xelm[urielplus]'. "
            "URIEL's own need nothing more."
        ) from None
    path = Path(str(package.locate_file(f"urielplus/database/{name}")))
    if not path.is_file():
        raise BadInput(
            f"{path}: this urielplus lacks the file; xelm needs urielplus 1.3.2 or later: pip install -U urielplus"
        )
    return path
