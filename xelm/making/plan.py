"""The plan that a recipe asks for: read from its file, or made from its languages and, where wanted, their text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from clustering.corpora.find import Source
from clustering.errors import BadInput
from xelm.corpus.store import training_texts
from xelm.recipe.parsing import in_recipe
from xelm.recipe.recipe import Clusters, Data

if TYPE_CHECKING:
    from clustering import ClusterPlan

MOST_DOCUMENTS = 1000
"""Number of documents of each language that a plan by text reads."""


def plan_for(clusters: Clusters, reading: Data, sources: Sequence[Source], tokens: Mapping[str, int]) -> ClusterPlan:
    """The plan of `[clusters]`: clusters of the languages by its method, or those of its file.

    Args:
        clusters: The `[clusters]` section.
        reading: The `[data]` section, for a method that reads text.
        sources: The text of every language.
        tokens: Training tokens of every language, for `balance = "tokens"`.

    Raises:
        BadInput: If the plan cannot be made, or its file and the text do not have the same languages.
    """
    from clustering import cluster_languages
    from clustering.plans.methods import find_method

    if clusters.plan is not None:
        return _plan_in_file(clusters.plan, reading.path, tokens)
    assert clusters.k is not None  # a recipe has either a file or k
    by_text = find_method(clusters.method).needs == "texts" and clusters.distance is None
    try:
        return cluster_languages(
            sorted(tokens),
            k=clusters.k,
            method=clusters.method,
            balance=clusters.balance,
            tokens=tokens if clusters.balance == "tokens" else None,
            distances=clusters.distance,
            texts=plan_texts(sources, reading) if by_text else None,
            effects=clusters.effects,
        )
    except BadInput as error:
        raise _in_recipe(error) from error


def check_clusters(clusters: Clusters, num_languages: int) -> None:
    """Refuse `[clusters]` that cannot be carried out, before any text is read.

    Raises:
        BadInput: If the method or the kind of distance is unknown, or K does not fit.
    """
    from clustering.plans.make import check_request

    if clusters.k is None:
        return
    try:
        check_request(num_languages, clusters.k, clusters.method, balance=clusters.balance, distances=clusters.distance)
    except BadInput as error:
        raise _in_recipe(error) from None


def _in_recipe(error: BadInput) -> BadInput:
    """The error, with arguments named as in the recipe."""
    text = error.spelled(in_recipe("clusters", {"distances": "distance"}))
    return BadInput(text if "[clusters]" in text else f"[clusters] {text}")


def plan_texts(sources: Sequence[Source], reading: Data) -> dict[str, list[str]]:
    """The first `MOST_DOCUMENTS` training documents of each language, from which a plan by text is made."""
    return {source.code: list(islice(training_texts(source, reading), MOST_DOCUMENTS)) for source in sources}


def _plan_in_file(file: str, data: str, tokens: Mapping[str, int]) -> ClusterPlan:
    from clustering import ClusterPlan

    plan = ClusterPlan.load(file)
    problems = []
    if missing := sorted(set(plan.languages) - set(tokens)):
        problems.append(f"no text for {', '.join(missing)}")
    if extra := sorted(set(tokens) - set(plan.languages)):
        problems.append(f"text of {', '.join(extra)}, which no cluster has")
    if problems:
        raise BadInput(f"{file} does not fit {data}: {'; '.join(problems)}.")
    return plan
