"""Experts weighed by the text itself: the formula by hand, the centres kept, and what has no text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clustering.errors import BadInput
from clustering.plans.documents import TextSpace, text_points
from router.routes.centres import TextCentres, load_centres, reweigh
from router.routes.weigh import Route

TEXTS = {
    "deu": ["das Wetter ist heute schön", "wir gehen im Park spazieren", "die Kinder lernen in der Schule"],
    "nld": ["het weer is vandaag mooi", "wij gaan in het park wandelen"],
    "jpn": ["今日はとても天気がいいです", "公園へ散歩に行きましょう", "子供は学校で勉強します", "この本は面白い"],
}
PLAN = {"west": ["deu", "nld"], "east": ["jpn"]}


@pytest.fixture(scope="module")
def centres() -> TextCentres:
    return TextCentres.train(TEXTS)


def test_weights_are_those_of_the_formula() -> None:
    # exp(-0.2^2 / 0.1) = exp(-0.4), exp(-0.5^2 / 0.1) = exp(-2.5); their share is 1 / (1 + exp(-2.1)) = 0.890903.
    space = TextSpace(np.zeros(4, dtype=np.float32), np.zeros((2, 4), dtype=np.float32))
    weights = TextCentres(space, {}, {}).weights(np.array([[0.2, 0.5]]))
    assert weights == pytest.approx(np.array([[0.890903, 0.109097]]), abs=1e-6)
    warm = TextCentres(space, {}, {}, power=1.0, temperature=1.0).weights(np.array([[0.2, 0.5]]))
    assert warm == pytest.approx(np.array([[0.574443, 0.425557]]), abs=1e-6)


def test_a_centre_is_the_mean_of_the_documents_of_all_its_languages(centres: TextCentres) -> None:
    documents = text_points([page for code in sorted(TEXTS) for page in TEXTS[code]])
    # The documents lie in the order of the codes: deu 0-2, jpn 3-6, nld 7-8.
    west, east = documents[[0, 1, 2, 7, 8]].mean(axis=0), documents[3:7].mean(axis=0)
    assert centres.centres(PLAN) == pytest.approx(np.stack([west, east]))
    by_hand = ((documents[0] - west) ** 2).sum(), ((documents[0] - east) ** 2).sum()
    assert centres.distances(TEXTS["deu"][:1], PLAN)[0] == pytest.approx(by_hand)


def test_new_text_goes_to_the_centre_of_its_language(centres: TextCentres) -> None:
    weights = centres.weights(centres.distances(["die Schule ist heute schön", "学校はいいです"], PLAN))
    assert weights[0, 0] > 0.9 and weights[1, 1] > 0.9
    assert weights.sum(axis=1) == pytest.approx(1)


def test_centres_are_kept_and_a_language_comes_and_leaves(centres: TextCentres, tmp_path: Path) -> None:
    assert load_centres(tmp_path) is None
    centres.with_language("rus", ["и не это дом"]).without_language("rus").save(tmp_path)
    kept = load_centres(tmp_path)
    assert kept is not None and kept.num_documents == {"deu": 3, "jpn": 4, "nld": 2}
    texts = ["wir lernen \ud800 in der Schule", "", "今日"]
    assert np.array_equal(kept.distances(texts, PLAN), centres.distances(texts, PLAN))
    with pytest.raises(BadInput, match="no text of rus"):
        kept.centres({"a": ["rus"]})


def test_damaged_files_are_named(centres: TextCentres, tmp_path: Path) -> None:
    centres.save(tmp_path)
    index = tmp_path / "centres.json"
    index.write_text(index.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(BadInput, match="version 1"):
        load_centres(tmp_path)
    centres.save(tmp_path)
    index.write_text(index.read_text().replace('"nld"', '"swe"'))
    with pytest.raises(BadInput, match="do not belong together"):
        load_centres(tmp_path)


@pytest.mark.parametrize("key", ["power", "temperature"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_numbers_that_give_no_weights_are_refused(key: str, value: float) -> None:
    with pytest.raises(BadInput, match=key):
        TextCentres.train(TEXTS, **{key: value})


def test_routes_keep_their_language_and_say_where_the_text_is_near(centres: TextCentres) -> None:
    texts = ["die Schule ist heute schön", "12 !", "wir lernen"]
    routes = [
        Route("deu", 0.9, {"east": 1.0}, "by language"),
        Route(None, 0.0, {"east": 1.0}, "no letters"),
        Route("deu", 0.2, {"base": 1.0}, "under the threshold", abstained=True),
    ]
    near, silent, unsure = reweigh(routes, texts, centres, PLAN, fallback="base")
    assert near.language == "deu" and near.weights["west"] > 0.9
    assert "German (deu), 90% sure; its text is nearest to that of west" in near.reason
    assert silent.weights == {"west": 0.5, "east": 0.5} and silent.reason == "no letters"
    assert unsure.weights == {"base": 1.0}
    together = reweigh(routes, texts, centres, PLAN)[2]
    assert together.weights["west"] > 0.9 and together.reason == "under the threshold"
