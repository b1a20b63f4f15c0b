"""Measure languages by any kind of distance, alone or in a mean.

All values lie in [0, 1], matrices are symmetric with a zero diagonal, and nothing loops over languages in
Python. Shapes: L languages asked for, N = 7,970 languages of URIEL, F features.

Missing values. Most languages have few known features (two thirds of URIEL's rows have no syntax at all), so what
an unknown value counts as decides the ranking:

- `knn` (default): unknown values are URIEL's predictions from the nearest languages by family, place and known
  features. As a ranking of transfer sources this scored 50 NDCG@3 where the union of sources scored 31 on
  LangRank's dependency parsing table, and it needs no special case for pairs without a common feature.
- `shared`: only features that both languages know count, in the product and in both norms; 1 without any.

Whatever the choice, `coverage` counts features that both languages really have. The distance of the X-ELM
authors counts unknowns in yet another way (`clustering.distances.x_elm`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from clustering.distances import uriel as typology
from clustering.distances import uriel_kinds  # noqa: F401  (registers the usual kinds without a search)
from clustering.distances.distance import DISTANCES, Distance, Missing
from clustering.distances.matrix import CoveredCode, Distances, DistancesFrom
from clustering.errors import BadInput
from clustering.languages.codes import to_code, to_codes
from clustering.languages.points import code_of, script_of

Kind = str | Mapping[str, float]
COMBINED_KINDS: dict[str, dict[str, float]] = {
    # Each feature set has one vote; all features in one vector would give the 158 sounds most of them.
    "typological": {"syntactic": 1.0, "phonological": 1.0, "inventory": 1.0},
    # Weights of the sum that ranks transfer sources well without training, as far as typology goes.
    "combined": {"syntactic": 1.0, "genetic": 0.5, "geographic": 0.5},
}
_PLUS = re.compile(r"\+(?![:+]|$)")
"""The plus between two terms; a name may contain a plus too, as `uriel+` and `uriel+:syntactic` do."""
KINDS = (*COMBINED_KINDS, *typology.BASE_KINDS)


def distance_matrix(
    languages: Iterable[str] | None = None, kind: Kind = "typological", missing: Missing = "knn"
) -> Distances:
    """Measure every pair of languages.

    Each language is looked up under the code that URIEL covers best for the kind (`typology_code`).

    Args:
        languages: Codes, tags or names of different languages; None takes all of URIEL (N x N: 0.5 GB).
        kind: `syntactic`, `phonological`, `inventory`, `featural` (all three in one vector): 1 - cosine;
            `genetic`: 1 - shared family nodes / geometric mean of (nodes + 1), the language itself being its
            last node, and 1 without a known family; `geographic`: great circle / half the globe, 1 for an
            unknown place; `typological`: mean of syntactic, phonological and inventory; `combined`: mean of
            syntactic (weight 2), genetic and geographic (1 each); or any other registered one
            (`clustering.distances.distance`). Kinds may be averaged: `syntactic+genetic`, or weighted:
            `syntactic*2+genetic`, `{"syntactic": 2, "genetic": 1}`.
        missing: How an unknown feature counts; see the module.

    Returns:
        The matrix with its coverage, languages in the order given.

    Raises:
        BadInput: If a language is unknown, given twice or cannot be measured, a kind is unknown, or it has no such
            way to count unknown features.

    Example:
        >>> int(distance_matrix(["az", "tr"], "syntactic", missing="shared").coverage[0, 1])
        55
    """
    weights = weights_of(kind)
    _check_missing(missing, weights)
    typology.preload(weights)
    codes = typology.languages() if languages is None else tuple(to_codes(languages))
    values: np.ndarray | float = 0.0
    coverage: np.ndarray | int = 0
    for name, weight in weights.items():
        part, known = _distance(name).measure(codes, missing=missing)
        values = values + weight * part
        coverage = coverage + known
    found = _as_distances(np.asarray(values))
    return Distances(codes, _one_language_in_scripts(codes, found), np.asarray(coverage), name_of_kind(kind))


def distances_from(
    target: str,
    kinds: Iterable[str] = KINDS,
    candidates: Iterable[str] | None = None,
    missing: Missing = "knn",
) -> DistancesFrom:
    """Measure one language against many, or against all of URIEL (a few milliseconds once loaded).

    Args:
        target: Code, tag or name.
        kinds: Kinds of distance, such as `syntactic`.
        candidates: Codes, tags or names; None takes all 7,970. The target itself gets distance 0.
        missing: How unknown features count: `knn` (predicted) or `shared` (features known of both).

    Returns:
        Values and coverage of each kind, candidates in the order given.

    Raises:
        BadInput: As `distance_matrix`.
    """
    code = to_code(target)
    names = typology.languages() if candidates is None else tuple(to_code(candidate) for candidate in candidates)
    weights_of_kind = {kind: weights_of(kind) for kind in kinds}
    typology.preload(base for weights in weights_of_kind.values() for base in weights)
    values: dict[str, np.ndarray] = {}
    coverage: dict[str, np.ndarray] = {}
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind, weights in weights_of_kind.items():
        _check_missing(missing, weights)
        for base in weights.keys() - parts.keys():
            parts[base] = _distance(base).measure_from(code, names, missing=missing)
        total = sum(weight * parts[base][0] for base, weight in weights.items())
        values[kind] = np.clip(np.asarray(total), 0.0, 1.0)
        coverage[kind] = np.asarray(sum(parts[base][1] for base in weights))
    itself = np.flatnonzero(np.array(names) == code)
    for found in values.values():
        found[itself] = 0.0
    return DistancesFrom(code, names, values, coverage)


def coverage_of(languages: Sequence[str], kind: str) -> dict[str, CoveredCode]:
    """For each language, the row behind its typology and its number of known features; {} for other distances."""
    try:
        weights = weights_of(kind)
    except BadInput:
        return {}
    table: dict[str, CoveredCode] = {}
    for name in weights:
        for code, part in _distance(name).coverage(tuple(languages)).items():
            first = table.get(code, CoveredCode(code, part.uriel_code, 0, 0))
            known, total = first.num_known + part.num_known, first.num_total + part.num_total
            table[code] = CoveredCode(code, first.uriel_code, known, total)
    return table


def resampler(
    languages: Sequence[str], kind: str, missing: Missing = "knn"
) -> Callable[[np.random.Generator], np.ndarray] | None:
    """A function that measures distances on features drawn with replacement, for `quality.stability`.

    Family and place have no features to draw, so they do not change.

    Returns:
        From a generator to distances, shape (L, L); None for distances that cannot be measured again.
    """
    try:
        weights = weights_of(kind)
    except BadInput:
        return None
    codes = tuple(languages)

    def resample(generator: np.random.Generator) -> np.ndarray:
        total = np.zeros((len(codes), len(codes)))
        for name, weight in sorted(weights.items()):
            total += weight * _distance(name).measure(codes, missing=missing, generator=generator)[0]
        return _as_distances(total)

    return resample


def weights_of(kind: Kind) -> dict[str, float]:
    """The distances that a kind is the mean of, with weights summing to 1: `typological` is a third each of its three.

    Raises:
        BadInput: If a kind is unknown or a weight is not positive.
    """
    weights: dict[str, float] = {}
    for name, weight in _terms(kind).items():
        members = COMBINED_KINDS.get(name, {name: 1.0})
        for member, share in members.items():
            _distance(member)  # refuses an unknown one
            weights[member] = weights.get(member, 0.0) + weight * share / sum(members.values())
        if not weight > 0:
            raise BadInput(f"The weight of {name!r} is {weight}: weights are greater than 0.")
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def name_of_kind(kind: Kind) -> str:
    """A kind as text, for files and messages, from which it can be read again: `syntactic*2+genetic`."""
    if not isinstance(kind, Mapping):
        return str(kind)
    return "+".join(name if weight == 1 else f"{name}*{weight:g}" for name, weight in kind.items())


def kinds_in_words() -> str:
    """Every kind with a short description, for `--help`."""
    names_of: dict[str, list[str]] = {"mean of " + ", ".join(parts): [name] for name, parts in COMBINED_KINDS.items()}
    for name in DISTANCES.names():
        names_of.setdefault(DISTANCES.find(name).about, []).append(name)
    return "; ".join(
        f"{', '.join(names)} ({about})" if about else ", ".join(names) for about, names in names_of.items()
    )


def _one_language_in_scripts(points: Sequence[str], values: np.ndarray) -> np.ndarray:
    """The distances with 0 between scripts of one language."""
    if any(script_of(point) for point in points):
        codes = np.array([code_of(point) for point in points])
        values[codes[:, None] == codes[None]] = 0.0
    return values


def _terms(kind: Kind) -> dict[str, float]:
    """The names and weights that were given."""
    if isinstance(kind, Mapping):
        return {name.strip(): weight for name, weight in kind.items()}
    terms: dict[str, float] = {}
    for term in _PLUS.split(str(kind).strip()):
        name, _, factor = term.partition("*")
        try:
            terms[name.strip()] = float(factor) if factor else 1.0
        except ValueError:
            raise BadInput(f"{term.strip()!r}: write a weight as a number, such as syntactic*2+genetic.") from None
    return terms


def _distance(name: str) -> Distance:
    if not DISTANCES.has(name):
        known = [*COMBINED_KINDS, *DISTANCES.names()]
        raise BadInput(
            f"Unknown kind of distance {name!r}. Choose one of: {', '.join(known)}, or a mean such as "
            "syntactic+genetic."
        )
    return DISTANCES.find(name)


def _check_missing(missing: str, weights: Mapping[str, float]) -> None:
    if missing not in get_args(Missing):
        raise BadInput(f"missing={missing!r} is unknown: unknown features count by knn or shared.")
    if missing != "knn" and (fixed := [name for name in weights if not _distance(name).takes_missing]):
        raise BadInput(f"missing={missing!r}: {', '.join(fixed)} has a way of its own to count unknown features.")


def _as_distances(values: np.ndarray) -> np.ndarray:
    # BLAS may round the two halves differently, but the matrix must be exactly symmetric.
    matrix = np.clip((values + values.T) / 2, 0.0, 1.0)
    np.fill_diagonal(matrix, 0.0)
    return np.asarray(matrix)
