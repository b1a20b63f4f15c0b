"""Weights learned from losses on held-out documents: used where the text tells experts apart, and not elsewhere."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from clustering.errors import BadInput
from router.routes.learned import ARRAYS_FILE, INDEX_FILE, Gain, LearnedWeights, beginnings_of, learn
from router.routes.weigh import Route

EXPERTS = ("sea", "law", "base")
WORDS = {
    "sea": "wave boat sail harbour wind fish tide anchor deck rope storm gull",
    "law": "court judge clause appeal statute verdict claim counsel party contract fine oath",
}
GENERATOR = random.Random(0)
DOMAINS = ["sea", "law"] * 30
TEXTS = [f"the {' the '.join(GENERATOR.choices(WORDS[domain].split(), k=12))}" for domain in DOMAINS]
SIZES = np.array([len(text) for text in TEXTS])
BY_DOMAIN = np.array([[2.0, 2.4, 2.1] if domain == "sea" else [2.4, 2.0, 2.1] for domain in DOMAINS])
# All are English, of which the base is expected to read least badly.
EXPECTED = [np.tile([2.2, 2.2, 2.1], (len(TEXTS), 1))] * len(beginnings_of(["a"]))


def taught(losses_BK: np.ndarray) -> LearnedWeights:
    return learn(TEXTS, losses_BK, SIZES, EXPECTED, EXPERTS, temperature=0.02)


def english(weights: dict[str, float], **more: object) -> Route:
    return Route("eng", 1.0, weights, "English (eng), 100% sure: base has the least expected loss.", **more)


@pytest.fixture(scope="module")
def learned() -> LearnedWeights:
    return taught(BY_DOMAIN)


def test_a_domain_that_experts_read_differently_is_learned(learned):
    # From 2.1 of the base everywhere to 2.0 of each domain's own is 4.76 % less; first letters do not always tell.
    assert 4.0 < learned.gain.percent <= 100 * 0.1 / 2.1 and learned.gain.wins
    assert learned.gain.documents == 60
    plain = english({"sea": 0.01, "law": 0.01, "base": 0.98})
    texts = ["the wave the boat the anchor", "the judge the verdict the contract"]
    routes = learned.reweigh([plain, plain], texts)
    assert [max(route.weights, key=route.weights.get) for route in routes] == ["sea", "law"]
    for route, expert in zip(routes, ("sea", "law"), strict=True):
        assert f"held-out documents, {expert} reads a text like this best" in route.reason
        assert sum(route.weights.values()) == pytest.approx(1) and route.language == "eng"


def test_weights_are_divided_by_the_exponential_of_the_correction(learned):
    [bits] = learned.corrections(["the wave the boat"])
    [route] = learned.reweigh([english({"sea": 0.5, "law": 0.25, "base": 0.25})], ["the wave the boat"])
    odds = route.weights["sea"] / route.weights["base"]
    assert np.log(odds) == pytest.approx(np.log(2) - (bits[0] - bits[2]) / 0.02)


def test_losses_that_the_text_does_not_explain_teach_nothing_and_change_nothing():
    noise = BY_DOMAIN.mean(axis=0) + np.random.default_rng(1).normal(0, 0.2, BY_DOMAIN.shape)
    learned = taught(noise)
    assert not learned.gain.wins
    plain = english({"base": 1.0})
    assert learned.reweigh([plain], ["the wave the boat"]) == [plain]


def test_texts_without_letters_and_abstentions_keep_their_weights(learned):
    weights = {"sea": 0.01, "law": 0.01, "base": 0.98}
    plain, abstained = english(weights), english(weights, abstained=True)
    assert learned.reweigh([plain, abstained], ["42", "the wave"], fallback="base") == [plain, abstained]
    assert learned.reweigh([abstained], ["the wave"])[0].weights["sea"] > 0.1
    assert learned.reweigh([], []) == []


def test_a_gain_within_its_error_is_no_win():
    assert Gain(1.65, 1.0, 9).wins and not Gain(1.63, 1.0, 9).wins and not Gain(-1.0, 0.1, 9).wins


def test_too_few_documents_are_refused():
    with pytest.raises(BadInput, match="4 held-out documents are too few"):
        learn(TEXTS[:4], BY_DOMAIN[:4], SIZES[:4], [e[:4] for e in EXPECTED], EXPERTS, temperature=0.02)


def test_written_and_read_again_and_damage_is_refused(learned, tmp_path):
    assert LearnedWeights.load(tmp_path) is None
    learned.save(tmp_path)
    again = LearnedWeights.load(tmp_path)
    assert again.gain == learned.gain and again.experts == EXPERTS
    assert np.array_equal(again.corrections(TEXTS[:3]), learned.corrections(TEXTS[:3]))
    index = json.loads((tmp_path / INDEX_FILE).read_text())
    for change in ({"version": 2}, {"experts": ["sea"]}, {"temperature": 0.0}, {"gain": {}}):
        (tmp_path / INDEX_FILE).write_text(json.dumps(index | change))
        with pytest.raises(BadInput, match=r"again|damaged|do not belong"):
            LearnedWeights.load(tmp_path)
    (tmp_path / INDEX_FILE).write_text(json.dumps(index))
    (tmp_path / ARRAYS_FILE).unlink()
    with pytest.raises(BadInput):
        LearnedWeights.load(tmp_path)
