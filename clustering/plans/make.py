"""Make plans: choose distances, group by a named method, balance if wanted, and measure the quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from clustering.distances.distance import Missing
from clustering.distances.kinds import Kind, distance_matrix, resampler, weights_of
from clustering.distances.matrix import Distances
from clustering.errors import BadInput, arg, refuse_text
from clustering.languages.codes import match, name_of, to_codes
from clustering.plans import quality
from clustering.plans.assess import assess
from clustering.plans.documents import text_distances
from clustering.plans.effects import Effects
from clustering.plans.hierarchy import balance_by_languages, balance_by_tokens
from clustering.plans.measured import METHOD as MEASURED
from clustering.plans.measured import measured_plan
from clustering.plans.methods import Evidence, Grouping, Method, find_method
from clustering.plans.plan import ClusterPlan, cluster_name
from clustering.plans.quality import Quality

Balance = Literal["languages", "tokens"]
DEFAULT_METHOD = "ward"


@dataclass(frozen=True)
class SuggestedK:
    """The result of one number of clusters."""

    k: int
    quality: Quality
    largest: int
    clusters: dict[str, list[str]]


def cluster_languages(
    languages: Sequence[str],
    k: int,
    method: str = DEFAULT_METHOD,
    *,
    balance: Balance | None = None,
    tokens: Mapping[str, int] | None = None,
    distances: Distances | Kind | None = None,
    missing: Missing = "knn",
    texts: Mapping[str, Sequence[str]] | None = None,
    effects: Effects | str | Path | None = None,
    stability: bool = False,
    seed: int = 0,
) -> ClusterPlan:
    """Group languages into K clusters, one expert each.

    Every language lands in exactly one cluster and no cluster is empty. Except for `pairs`, the result does
    not depend on the order of `languages`; clusters come largest first, languages sorted. `pairs` keeps the
    order in which it forms clusters.

    Args:
        languages: L codes, tags or names of different languages.
        k: Number of clusters, 1..L.
        method: `ward` (default: of the linkages it gives the most even and, on families, the purest
            clusters), `average`, `complete`, `single`, `pairs` (X-ELM), or `tfidf` (even groups by `texts`).
        balance: `languages`: cluster sizes differ by at most one; `tokens`: near equal training tokens.
        tokens: Training tokens per language, for `balance="tokens"`.
        distances: A kind to measure (`combined`, `typological`, `syntactic+genetic`, …; `uriel+` or, say,
            `uriel+:syntactic` with the extra `urielplus`), weights per kind, or distances that hold at least
            these languages. None is `combined`, since family and place beside syntax help
            transfer most; for `pairs` it is the authors' own distance.
        missing: How unknown features count (`clustering.distances.kinds`).
        texts: Documents per language to take distances from (`documents.text_distances`) instead of typology.
        effects: What training on each language does to every other (`xelm.measure_effects`), or a file of it: the
            plan is then the one of least interference within even clusters (method `measured`).
        stability: Whether to measure stability under resampled features too (20 more groupings).
        seed: Seed of the resampling; nothing else is random.

    Returns:
        The plan.

    Raises:
        BadInput: If a language is unknown, given twice or without distances, K does not fit, or an argument
            is unknown.

    Example:
        >>> cluster_languages(["deu", "nld", "jpn", "kor"], k=2).clusters
        {'c1-deu-nld': ['deu', 'nld'], 'c2-jpn-kor': ['jpn', 'kor']}
    """
    if effects is not None or method == MEASURED:
        return _measured(languages, k, method, effects, balance, distances, texts)
    codes = _ordered(languages, find_method(method))
    chosen = check_request(len(codes), k, method, balance=balance, distances=distances)
    loads = _loads(codes, balance, tokens)
    known = _distances_for(codes, distances, texts, chosen, missing)

    def group(values: np.ndarray) -> Grouping:
        return _balanced(values, chosen.group(Evidence(values), k), loads, balance)

    grouping = group(known.values)
    stable = None
    if stability and (resample := resampler(codes, known.kind, missing)) is not None:
        stable = quality.stability(grouping.groups, resample, lambda values: group(values).groups, seed=seed)
    plan = _plan_of(codes, grouping, chosen, known, loads)
    return replace(
        plan,
        method=method if balance is None else f"{method}+{balance}",
        quality=replace(plan.quality, stability=stable),
    )


def check_request(
    num_languages: int,
    k: int,
    method: str = DEFAULT_METHOD,
    *,
    balance: str | None = None,
    distances: Distances | Kind | None = None,
) -> Method:
    """Check a request for a plan as far as possible before anything is read or measured.

    Returns:
        The method.

    Raises:
        BadInput: If the method or the kind of distance is unknown, K does not fit, or the method cannot be balanced.
    """
    chosen = find_method(method)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= num_languages:
        raise BadInput(
            f"{arg('k', k)} does not fit {num_languages} language{'s' if num_languages != 1 else ''}. "
            f"Choose 1 (one shared expert) to {num_languages} (one expert per language)."
        )
    if balance not in (None, "languages", "tokens"):
        raise BadInput(f"{arg('balance', balance)} is unknown: languages or tokens.")
    if balance and chosen.own_sizes:
        raise BadInput(
            f"{arg('method', method)} makes its own sizes; use another method with {arg('balance')}, such as 'ward'."
        )
    if distances is not None and not isinstance(distances, Distances):
        weights_of(distances)  # refuses an unknown kind
    return chosen


def _measured(
    languages: Sequence[str],
    k: int,
    method: str,
    effects: Effects | str | Path | None,
    balance: str | None,
    distances: Distances | Kind | None,
    texts: Mapping[str, Sequence[str]] | None,
) -> ClusterPlan:
    if effects is None:
        raise BadInput(
            f"{arg('method', MEASURED)} needs effects: measure them (`xelm measure RECIPE --out effects.json`), give "
            f"{arg('effects', 'effects.json')}."
        )
    if method not in (MEASURED, DEFAULT_METHOD):
        raise BadInput(
            f"Give {arg('effects')} or {arg('method', method)}, not both: effects make plans of method '{MEASURED}'."
        )
    if distances is not None or texts is not None:
        raise BadInput(f"Give {arg('effects')}, or distances or texts, not both.")
    codes = _ordered(languages, find_method(MEASURED))
    check_request(len(codes), k, MEASURED, balance=balance)
    if balance == "tokens":
        raise BadInput(
            f"{arg('balance', 'tokens')}: clusters from effects have even numbers of languages. Leave it out."
        )
    return measured_plan(codes, k, effects)


def suggest_k(
    languages: Sequence[str],
    method: str = DEFAULT_METHOD,
    *,
    max_k: int | None = None,
    **options: object,
) -> list[SuggestedK]:
    """Quality for each number of clusters, so that a person can choose.

    Args:
        languages: L codes, tags or names of different languages.
        method: A method of `cluster_languages`, such as `ward`.
        max_k: Largest K; None: L.
        options: Other arguments of `cluster_languages`.

    Returns:
        For each K = 1..max_k its plan's `quality`, the size of the largest cluster and the clusters.
    """
    num_languages = len(languages)
    rows = []
    for k in range(1, min(max_k or num_languages, num_languages) + 1):
        plan = cluster_languages(languages, k, method, **options)  # type: ignore[arg-type]
        rows.append(SuggestedK(k, plan.quality, max(map(len, plan.clusters.values())), plan.clusters))
    return rows


def _ordered(languages: Sequence[str], chosen: Method) -> list[str]:
    refuse_text("languages", languages)
    codes = to_codes(languages)
    if not codes:
        raise BadInput("No languages to cluster: give at least one.")
    return codes if chosen.keeps_order else sorted(codes)


def _loads(codes: list[str], balance: str | None, tokens: Mapping[str, int] | None) -> np.ndarray | None:
    if tokens is None:
        if balance == "tokens":
            raise BadInput(
                f"{arg('balance', 'tokens')} needs {arg('tokens')} with the training tokens of each language."
            )
        return None
    found = [match(code, tokens) for code in codes]
    if absent := [name_of(code) for code, key in zip(codes, found, strict=True) if key is None]:
        raise BadInput(f"tokens lacks: {', '.join(absent)}. Give a number (or 0) for every language.")
    loads = np.array([float(tokens[key]) for key in found if key is not None])
    if not np.isfinite(loads).all() or (loads < 0).any() or loads.max() == 0:
        raise BadInput("tokens must be numbers >= 0, not all of them 0.")
    return loads


def _distances_for(
    codes: list[str],
    distances: Distances | Kind | None,
    texts: Mapping[str, Sequence[str]] | None,
    chosen: Method,
    missing: Missing,
) -> Distances:
    if texts is not None:
        if distances is not None:
            raise BadInput("Give texts or distances, not both.")
        distances = text_distances(texts)
    if distances is None and chosen.needs == "texts":
        raise BadInput(
            f"{arg('method', chosen.name)} groups by text: give {arg('texts')} with documents of each language."
        )
    if isinstance(distances, Distances):
        return distances.subset(codes)
    return distance_matrix(codes, chosen.distance if distances is None else distances, missing)


def _balanced(values: np.ndarray, grouping: Grouping, loads: np.ndarray | None, balance: str | None) -> Grouping:
    if balance == "languages":
        return Grouping(balance_by_languages(values, grouping.groups), grouping.linkage)
    if balance == "tokens" and loads is not None:
        return Grouping(balance_by_tokens(values, grouping.groups, loads), grouping.linkage)
    return grouping


def _plan_of(
    codes: list[str], grouping: Grouping, chosen: Method, known: Distances, loads: np.ndarray | None
) -> ClusterPlan:
    """The groups as a plan: named, in order, measured."""
    groups = [sorted(group, key=codes.__getitem__) for group in grouping.groups]
    if not chosen.keeps_order:
        groups.sort(key=lambda group: (-len(group), codes[group[0]]))
    named = [[codes[row] for row in group] for group in groups]
    clusters = {cluster_name(number, group): group for number, group in enumerate(named, start=1)}
    order = [row for group in groups for row in group]
    found = assess(clusters, known, tokens=None if loads is None else loads[order])
    return ClusterPlan(
        clusters,
        chosen.name,
        distances=found.distances,
        coverage=found.coverage,
        quality=found.quality,
        linkage=_renumbered(grouping.linkage, order),
    )


def _renumbered(linkage: np.ndarray | None, order: list[int]) -> np.ndarray | None:
    """The merges with their leaves numbered in the order of the plan's languages."""
    if linkage is None:
        return None
    merges, place = linkage.copy(), np.argsort(order)
    leaves = merges[:, :2] < len(order)
    merges[:, :2][leaves] = place[merges[:, :2][leaves].astype(int)]
    return merges
