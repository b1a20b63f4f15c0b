"""Distances between languages from URIEL, each with how many facts it rests on.

All values lie in [0, 1], matrices are symmetric with a zero diagonal, and nothing loops over languages in
Python. Shapes: L languages asked for, N = 7,970 languages of URIEL, F features.

Missing values. Most languages have few known features (two thirds of URIEL's rows have no syntax at all), so what
an unknown value counts as decides the ranking:

- `knn` (default): unknown values are URIEL's predictions from the nearest languages by family, place and known
  features. As a ranking of transfer sources this scored 50 NDCG@3 where the union of sources scored 31 on
  LangRank's dependency parsing table, and it needs no special case for pairs without a common feature.
- `shared`: only features that both languages know count, in the product and in both norms; 1 without any.

Whatever the choice, `coverage` counts features that both languages really have. The distance of the X-ELM
authors counts unknowns in yet another way; it lives with their method, in `clustering.plans.pairs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clustering.distances import uriel as typology
from clustering.distances.arithmetic import Missing, measure, rows_for
from clustering.distances.uriel import BASE_KINDS
from clustering.errors import BadInput
from clustering.languages.codes import same_language_key, to_code, to_codes

Kind = str | Mapping[str, float]
COMBINED_KINDS: dict[str, dict[str, float]] = {
    # Each feature set has one vote; all features in one vector would give the 158 sounds most of them.
    "typological": {"syntactic": 1.0, "phonological": 1.0, "inventory": 1.0},
    # Weights of the sum that ranks transfer sources well without training, as far as typology goes.
    "combined": {"syntactic": 1.0, "genetic": 0.5, "geographic": 0.5},
}
KINDS = (*COMBINED_KINDS, *BASE_KINDS)


@dataclass(frozen=True)
class Distances:
    """Pairwise distances.

    Attributes:
        languages: L ISO 639-3 codes, in row order.
        values: Shape (L, L), in [0, 1], symmetric, zero diagonal.
        coverage: Shape (L, L), int: facts known of both languages (features; family nodes; places).
        kind: What they measure, such as `typological` or the name of the file they were read from.
    """

    languages: tuple[str, ...]
    values: np.ndarray
    coverage: np.ndarray
    kind: str

    def subset(self, languages: Sequence[str]) -> Distances:
        """The rows and columns of `languages`, in that order, found under any code of the same language.

        Raises:
            BadInput: If a language is not among these.
        """
        codes = tuple(to_code(language) for language in languages)
        row_of = {same_language_key(code): row for row, code in reversed(list(enumerate(self.languages)))}
        row_of |= {code: row for row, code in enumerate(self.languages)}  # an exact code wins
        rows = [row_of.get(code, row_of.get(same_language_key(code), -1)) for code in codes]
        if absent := [str(language) for language, row in zip(languages, rows, strict=True) if row < 0]:
            raise BadInput(
                f"The distances ({self.kind}) have no row for: {', '.join(absent)}. "
                f"They know: {', '.join(self.languages[:20])}{' …' if len(self.languages) > 20 else ''}."
            )
        grid = np.ix_(np.array(rows, dtype=int), np.array(rows, dtype=int))
        return Distances(codes, self.values[grid], self.coverage[grid], self.kind)

    def between(self, first: str, second: str) -> float:
        """Distance of two of the languages, each by any code or name."""
        return float(self.subset([first, second]).values[0, 1]) if first != second else 0.0


@dataclass(frozen=True)
class DistancesFrom:
    """Distances from one language to C candidates.

    Attributes:
        target: ISO 639-3 code.
        languages: C codes.
        values: Per kind, shape (C,), in [0, 1].
        coverage: Per kind, shape (C,), int: facts known of the target and of the candidate.
    """

    target: str
    languages: tuple[str, ...]
    values: dict[str, np.ndarray]
    coverage: dict[str, np.ndarray]


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
            syntactic (weight 2), genetic and geographic (1 each). Kinds may be averaged: `syntactic+genetic`,
            or weighted: `{"syntactic": 2, "genetic": 1}`.
        missing: What an unknown feature counts as; see the module.

    Returns:
        The matrix with its coverage, languages in the order given.

    Raises:
        BadInput: If a language is unknown, given twice or absent from URIEL, or a kind is unknown.

    Example:
        >>> int(distance_matrix(["az", "tr"], "syntactic", missing="shared").coverage[0, 1])
        55
    """
    weights = weights_of(kind)
    typology.preload(weights)
    codes = typology.languages() if languages is None else tuple(to_codes(languages))
    values: np.ndarray | float = 0.0
    coverage: np.ndarray | int = 0
    for name, weight in weights.items():
        rows = rows_for(name, None if languages is None else codes)
        part, known = measure(name, rows, rows, missing)
        values = values + weight * part
        coverage = coverage + known
    matrix = np.asarray(values)
    # BLAS may round the two halves differently; the promise is exact symmetry.
    matrix = np.clip((matrix + matrix.T) / 2, 0.0, 1.0)
    np.fill_diagonal(matrix, 0.0)
    return Distances(codes, matrix, np.asarray(coverage), name_of_kind(kind))


def distances_from(
    target: str,
    kinds: Iterable[str] = KINDS,
    candidates: Iterable[str] | None = None,
    missing: Missing = "knn",
) -> DistancesFrom:
    """Measure one language against many, or against all of URIEL (a few milliseconds once loaded).

    Args:
        target: Code, tag or name.
        kinds: As in `distance_matrix`.
        candidates: Codes, tags or names; None takes all 7,970. The target itself gets distance 0.
        missing: As in `distance_matrix`.

    Returns:
        Values and coverage of each kind, candidates in the order given.

    Raises:
        BadInput: As `distance_matrix`.
    """
    code = to_code(target)
    codes = None if candidates is None else tuple(to_code(candidate) for candidate in candidates)
    names = typology.languages() if codes is None else codes
    kinds = list(kinds)
    typology.preload(base for kind in kinds for base in weights_of(kind))
    values: dict[str, np.ndarray] = {}
    coverage: dict[str, np.ndarray] = {}
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind in kinds:
        weights = weights_of(kind)
        for base in weights.keys() - parts.keys():
            part, known = measure(base, rows_for(base, (code,)), rows_for(base, codes), missing)
            parts[base] = part[0], known[0]
        total = sum(weight * parts[base][0] for base, weight in weights.items())
        values[kind] = np.clip(np.asarray(total), 0.0, 1.0)
        coverage[kind] = np.asarray(sum(parts[base][1] for base in weights))
    itself = np.flatnonzero(np.array(names) == code)
    for distance in values.values():
        distance[itself] = 0.0
    return DistancesFrom(code, names, values, coverage)


def weights_of(kind: Kind) -> dict[str, float]:
    """Base kinds of a kind with weights summing to 1: `typological` is a third each of its three.

    Raises:
        BadInput: If a kind is unknown or a weight is not positive.
    """
    given = dict(kind) if isinstance(kind, Mapping) else dict.fromkeys(str(kind).split("+"), 1.0)
    weights: dict[str, float] = {}
    for name, weight in given.items():
        members = COMBINED_KINDS.get(name.strip(), {name.strip(): 1.0})
        for member, share in members.items():
            if member not in BASE_KINDS:
                raise BadInput(
                    f"Unknown kind of distance {name!r}. Choose one of: {', '.join(KINDS)}, or a mean such as "
                    "syntactic+genetic."
                )
            weights[member] = weights.get(member, 0.0) + weight * share / sum(members.values())
        if not weight > 0:
            raise BadInput(f"The weight of {name!r} is {weight}: weights are greater than 0.")
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def name_of_kind(kind: Kind) -> str:
    """A kind as text, for files and messages: `syntactic*2+genetic`."""
    if not isinstance(kind, Mapping):
        return str(kind)
    return "+".join(name if weight == 1 else f"{name}*{weight:g}" for name, weight in kind.items())
