"""Make plans: choose distances, group by a named method, balance if asked, say how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from clustering.distances.arithmetic import Missing
from clustering.distances.kinds import coverage_of, measure_kind, measure_quality, resampler
from clustering.distances.matrix import Distances, Kind
from clustering.errors import BadInput, arg, refuse_text
from clustering.languages.codes import match, name_of, to_codes
from clustering.plans import quality
from clustering.plans.hierarchy import balance_by_languages, balance_by_tokens
from clustering.plans.methods import Grouping, Method, find_method
from clustering.plans.pairs import XELM_KIND
from clustering.plans.plan import ClusterPlan, Quality, cluster_name

Balance = Literal["languages", "tokens"]
DEFAULT_METHOD = "ward"
DEFAULT_KIND = "combined"


@dataclass(frozen=True)
class SuggestedK:
    """What one number of clusters gives."""

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
            these languages. None is `combined`, since what helps transfer most is
            family and place beside syntax; for `pairs` it is the authors' own distance.
        missing: What unknown features count as (`clustering.distances.matrix`).
        texts: Documents per language to take distances from (`documents.text_distances`) instead of typology.
        stability: Also measure stability under resampled features (20 more groupings).
        seed: Of the resampling; nothing else is random.

    Returns:
        The plan.

    Raises:
        BadInput: If a language is unknown, given twice or without distances, K does not fit, or an argument
            is unknown.

    Example:
        >>> cluster_languages(["deu", "nld", "jpn", "kor"], k=2).clusters
        {'c1-deu-nld': ['deu', 'nld'], 'c2-jpn-kor': ['jpn', 'kor']}
    """
    chosen = find_method(method)
    codes = _ordered(languages, chosen)
    _check_k(k, len(codes))
    loads = _loads(codes, balance, tokens, chosen)
    known = _distances_for(codes, distances, texts, chosen, missing)
    grouping = _group(known.values, k, chosen, loads, balance)
    stable = None
    if stability and (resample := resampler(codes, known.kind, missing)) is not None:
        stable = quality.stability(
            grouping.groups, resample, lambda values: _group(values, k, chosen, loads, balance).groups, seed=seed
        )
    return _plan_of(codes, grouping, method if balance is None else f"{method}+{balance}", known, loads, stable)


def suggest_k(
    languages: Sequence[str],
    method: str = DEFAULT_METHOD,
    *,
    max_k: int | None = None,
    **options: object,
) -> list[SuggestedK]:
    """Quality for each number of clusters, so that a person can choose.

    Args:
        languages: As in `cluster_languages`.
        method: As there.
        max_k: Largest K; None goes to L.
        options: Passed on to `cluster_languages`.

    Returns:
        One row per K = 1..max_k.
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


def _check_k(k: int, num_languages: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= num_languages:
        raise BadInput(
            f"{arg('k', k)} does not fit {num_languages} language{'s' if num_languages != 1 else ''}. "
            f"Choose 1 (one shared expert) to {num_languages} (one expert per language)."
        )


def _loads(
    codes: list[str], balance: str | None, tokens: Mapping[str, int] | None, chosen: Method
) -> np.ndarray | None:
    if balance not in (None, "languages", "tokens"):
        raise BadInput(f"{arg('balance', balance)} is unknown: languages or tokens.")
    if balance and chosen.name == "pairs":
        raise BadInput(
            f"{arg('method', 'pairs')} makes clusters of its own sizes: leave out {arg('balance')}, or choose another "
            f"{arg('method')}"
        )
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
        from clustering.plans.documents import text_distances

        distances = text_distances(texts)
    if distances is None and chosen.name == "tfidf":
        raise BadInput(f"{arg('method', 'tfidf')} groups by text: give {arg('texts')} with documents of each language.")
    if isinstance(distances, Distances):
        return distances.subset(codes)
    default = XELM_KIND if chosen.name == "pairs" else DEFAULT_KIND
    return measure_kind(codes, default if distances is None else distances, missing)


def _group(values: np.ndarray, k: int, chosen: Method, loads: np.ndarray | None, balance: str | None) -> Grouping:
    grouping = chosen.group(values, k)
    if balance == "languages":
        return Grouping(balance_by_languages(values, grouping.groups), grouping.linkage)
    if balance == "tokens" and loads is not None:
        return Grouping(balance_by_tokens(values, grouping.groups, loads), grouping.linkage)
    return grouping


def _plan_of(
    codes: list[str],
    grouping: Grouping,
    method: str,
    known: Distances,
    loads: np.ndarray | None,
    stability: float | None,
) -> ClusterPlan:
    groups = [sorted(group, key=codes.__getitem__) for group in grouping.groups]
    if not method.startswith("pairs"):
        groups.sort(key=lambda group: (-len(group), codes[group[0]]))
    named = [[codes[row] for row in group] for group in groups]
    clusters = {cluster_name(number, group): group for number, group in enumerate(named, start=1)}
    order = [row for group in groups for row in group]
    linkage = grouping.linkage.copy()
    place = np.argsort(order)
    leaves = linkage[:, :2] < len(codes)
    linkage[:, :2][leaves] = place[linkage[:, :2][leaves].astype(int)]
    plan = ClusterPlan(
        clusters,
        method,
        distances=known.subset([codes[row] for row in order]),
        coverage=coverage_of([codes[row] for row in order], known.kind),
        linkage=linkage,
    )
    measured = measure_quality(plan, known.subset(plan.languages), None if loads is None else loads[order])
    return replace(plan, quality=replace(measured, stability=stability))
