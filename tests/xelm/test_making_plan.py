"""The plan of a recipe: by typology, by the training text, or from a file that must fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clustering import ClusterPlan, cluster_languages
from clustering.corpora.find import find_sources
from clustering.errors import BadInput
from xelm import Recipe
from xelm.corpus.store import training_texts
from xelm.making.plan import plan_for, plan_texts
from xelm.making.train import dry_run

MakeRecipe = Callable[..., Recipe]
TOKENS = {"deu": 100, "nld": 200, "rus": 300}


def test_a_recipe_may_cluster_by_its_training_text(tiny_recipe: MakeRecipe, corpus: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(clusters={"k": 2, "method": "tfidf"})
    sources = find_sources(str(corpus))
    plan, _ = dry_run(recipe, tmp_path / "run")
    # Made on the same documents by hand: what training reads, and nothing that is held out.
    texts = {source.code: list(training_texts(source, recipe.data)) for source in sources}
    by_hand = cluster_languages(list(texts), 2, "tfidf", texts=texts)
    assert plan_texts(sources, recipe.data) == texts
    assert plan.clusters == by_hand.clusters == {"c1-deu-nld": ["deu", "nld"], "c2-rus": ["rus"]}
    assert plan.method == "tfidf" and plan.distances is not None and plan.distances.kind == "tf-idf"


def test_a_plan_in_a_file_must_have_the_languages_of_the_text(
    tiny_recipe: MakeRecipe, corpus: Path, tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    ClusterPlan.from_clusters({"a": ["deu"], "b": ["jpn"]}).save(file)
    with pytest.raises(BadInput, match="no text for jpn; text of nld, rus, which no cluster has"):
        recipe = tiny_recipe(clusters={"k": None, "plan": str(file)})
        plan_for(recipe.clusters, recipe.data, find_sources(str(corpus)), TOKENS)


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ({"method": "wardd"}, r"\[clusters\] Unknown clustering method 'wardd'. Did you mean 'ward'"),
        ({"k": 9}, r"\[clusters\] k = 9 does not fit 3 languages"),
        ({"distance": "syntax"}, r"\[clusters\] Unknown kind of distance 'syntax'"),
        ({"method": "pairs", "balance": "tokens"}, r'\[clusters\] method = "pairs" makes its own sizes'),
    ],
)
def test_clusters_that_cannot_be_made_are_refused_before_any_text_is_tokenised(
    tiny_recipe: MakeRecipe, tmp_path: Path, clusters: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        dry_run(tiny_recipe(clusters=clusters), tmp_path / "run")
    assert not (tmp_path / "run" / "cache").exists()
