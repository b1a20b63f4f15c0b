"""Which expert a language belongs to: by the plan, by typology, or by measured losses.

Shape letters: `L` languages, `K` experts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import match, to_code

logger = logging.getLogger(__name__)

Distances = Callable[[Sequence[str]], np.ndarray]
"""A function from L codes to their distances (L, L) in [0, 1]; NaN if unknown."""


def typological_distances(codes: Sequence[str]) -> np.ndarray:
    """Distances as plans and donors use them (`combined`: syntax, family, place); NaN for a language not in URIEL."""
    from clustering.distances.kinds import distance_matrix
    from clustering.distances.uriel import typology_code

    known = []
    for row, code in enumerate(codes):
        try:
            typology_code(to_code(code))
        except BadInput as error:
            logger.debug("%s: %s", code, error)
        else:
            known.append(row)
    distances_LL = np.full((len(codes), len(codes)), np.nan)
    if known:
        distances_LL[np.ix_(known, known)] = distance_matrix([codes[row] for row in known], "combined").values
    return distances_LL


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, safe for large values."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


@lru_cache(maxsize=64)
def matches(languages: tuple[str, ...], among: tuple[str, ...]) -> tuple[str | None, ...]:
    """`match` of each language; experts that were measured on the same languages ask once."""
    return tuple(match(language, among) for language in languages)


def owners_of(plan: Mapping[str, Sequence[str]], languages: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The experts that own each language in the plan; languages that no expert owns are left out."""
    owners: dict[str, tuple[str, ...]] = {}
    for language in languages:
        names = tuple(name for name, codes in plan.items() if match(language, codes) is not None)
        if names:
            owners[language] = names
    return owners


def language_affinity(
    plan: Mapping[str, Sequence[str]],
    languages: Sequence[str],
    experts: Sequence[str],
    distances: Distances | None,
    temperature: float,
) -> np.ndarray:
    """a(language, expert): the share of a language's text that each expert gets.

    Args:
        plan: Expert -> its languages.
        languages: L codes.
        experts: K names: all experts of the plan, and perhaps others, which get nothing.
        distances: Distances for languages outside the plan; None spreads these languages evenly.
        temperature: Such a language's weights are softmax(-distance to the expert's nearest language / this).

    Returns:
        Shape (L, K), rows summing to 1. Several owners of one language share it evenly.
    """
    affinity_LK = np.zeros((len(languages), len(experts)))
    owners = owners_of(plan, languages)
    strangers = [language for language in languages if language not in owners]
    near = _near_experts(plan, strangers, distances, temperature) if strangers else {}
    for row, language in enumerate(languages):
        shares = near[language] if language in near else dict.fromkeys(owners[language], 1.0)
        for name, share in shares.items():
            affinity_LK[row, experts.index(name)] = share
    return np.asarray(affinity_LK / affinity_LK.sum(axis=1, keepdims=True))


def loss_table(
    losses: Mapping[str, Mapping[str, float]],
    languages: Sequence[str],
    experts: Sequence[str],
    distances: Distances | None,
    temperature: float,
) -> np.ndarray:
    """Loss of every expert on every language.

    Args:
        losses: Expert -> language -> measured loss.
        languages: L codes. One that is not measured for every expert takes the losses of the measured languages,
            weighted by softmax(-distance / temperature).
        experts: K names.
        distances: None weights the measured languages evenly.
        temperature: See `languages`.

    Returns:
        Shape (K, L).

    Raises:
        BadInput: If an expert has no row, or no language is measured for all experts.
    """
    missing = [name for name in experts if not losses.get(name)]
    if missing:
        raise BadInput(f"losses lack {', '.join(missing)}. Give a row for each expert, or leave these experts out.")
    table_KL = np.full((len(experts), len(languages)), np.nan)
    for row, expert in enumerate(experts):
        for column, found in enumerate(matches(tuple(languages), tuple(losses[expert]))):
            if found is not None:
                table_KL[row, column] = losses[expert][found]
    lacking = np.isnan(table_KL).any(axis=0).tolist()
    known = [i for i, lacks in enumerate(lacking) if not lacks]
    unknown = [i for i, lacks in enumerate(lacking) if lacks]
    if not known:
        raise BadInput("losses cover none of the languages for all experts. Evaluate all experts on one language.")
    if unknown:
        rows, columns = [languages[i] for i in unknown], [languages[i] for i in known]
        share_UE = softmax(-_distances_between(rows, columns, distances) / temperature)
        table_KL[:, unknown] = table_KL[:, known] @ share_UE.T
    return table_KL


def _near_experts(
    plan: Mapping[str, Sequence[str]], strangers: list[str], distances: Distances | None, temperature: float
) -> dict[str, dict[str, float]]:
    members = [(code, name) for name, codes in plan.items() for code in codes]
    to_members = _distances_between(strangers, [code for code, _ in members], distances)
    columns = [[i for i, (_, owner) in enumerate(members) if owner == name] for name in plan]
    # The distance to an expert is that to the nearest of its languages: one closely related language is enough.
    to_expert = np.stack([to_members[:, of_expert].min(axis=1) for of_expert in columns], axis=1)
    shares = softmax(-to_expert / temperature)
    return {s: dict(zip(plan, map(float, row), strict=True)) for s, row in zip(strangers, shares, strict=True)}


def _distances_between(rows: Sequence[str], columns: Sequence[str], distances: Distances | None) -> np.ndarray:
    """Distances, shape (rows, columns); an unknown one counts as the farthest known; all 0 without distances."""
    if distances is None:
        return np.zeros((len(rows), len(columns)))
    asked: list[str] = []
    place_of = {}
    for code in (*rows, *columns):
        # Two codes of one language (nor, nob) are one point; its distances are computed once.
        found = match(code, asked)
        if found is None:
            asked.append(code)
        place_of[code] = asked.index(code if found is None else found)
    matrix = np.asarray(distances(asked), dtype=np.float64)
    block = matrix[np.ix_([place_of[code] for code in rows], [place_of[code] for code in columns])]
    return np.where(np.isnan(block), np.nanmax(block, initial=0.0), block)
