"""`[router] weights = "centres"`: the centres of a run's text are made, used, grown and taken back with the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of, new_text, train_tiny
from tests.xelm.conftest import WORDS, sentences, tiny_table
from xelm import ExpertSet, Recipe, RoutedLM
from xelm.adding.add import add_language, remove_language


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of clusters by text that weighs its experts by text."""
    return train_tiny(tmp_path_factory.mktemp("finished"), clusters={"method": "tfidf"}, router={"weights": "centres"})


def test_the_run_weighs_its_experts_by_the_text(finished: Path) -> None:
    assert ExpertSet.load(finished).verify() == []
    lm = RoutedLM.from_pretrained(finished, device="cpu")
    plan = lm.experts.plan
    for code in WORDS:
        text = sentences(code, 1, seed=7)[0]
        route = lm.route([text])[0]
        assert max(route.weights, key=route.weights.__getitem__) == plan.cluster_of(code)
        assert set(route.weights) <= set(plan.clusters) and "its text is nearest to that of" in route.reason
    score = lm.score([sentences("deu", 1, seed=7)[0]])[0]
    assert score.bits_per_byte > 0


def test_a_language_comes_with_its_centre_and_leaves_again(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    before = contents(run)
    add_language(run, "swe", data=new_text(tmp_path, "swe"), tokens=512, believe_label=True)
    lm = RoutedLM.from_pretrained(run, device="cpu")
    route = lm.route(["och jag hus vatten morgon kväll gata vacker stor barn"])[0]
    assert max(route.weights, key=route.weights.__getitem__) == lm.experts.plan.cluster_of("swe")
    remove_language(run, "swe")
    assert contents(run) == before


def test_the_recipe_is_checked_when_it_is_read() -> None:
    with pytest.raises(BadInput, match="weights"):
        Recipe.from_dict(tiny_table(router={"weights": "centers"}))
    with pytest.raises(BadInput, match="centre_temperature=0"):
        Recipe.from_dict(tiny_table(router={"weights": "centres", "centre_temperature": 0}))


def test_trained_again_by_language_the_run_has_no_centres(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    from xelm.making.train import train

    table = ExpertSet.load(finished).manifest.recipe
    table["router"] = {}
    table["data"]["path"] = str(finished.parent / "corpus")
    train(Recipe.from_dict(table), run)
    assert not list((run / "router").glob("centres*"))
