"""Languages that cannot be told apart share an answer; a newcomer's prior leaves older languages their text."""

from __future__ import annotations

import json
import random
from dataclasses import asdict

import numpy as np
import pytest

from clustering.errors import BadInput
from router.identify.combined import CombinedIdentifier
from router.identify.open import OpenIdentifier
from router.routes.relatives import FILE_NAME, Group, Relatives, RelativesIdentifier, find_groups
from router.routes.route import route_openly, route_texts
from router.routes.weigh import ExpertWeigher

THREE = ["bos", "hrv", "deu"]
PLAN = {"b": ["bos"], "h": ["hrv"], "d": ["deu"]}
WORDS = "kuća voda jutro večer ulica lijep velik dijete kruh sunce dan noć more otok grad selo put most rijeka"


def sentences(words: str, number: int, seed: str) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(words.split(), k=10)) for _ in range(number)]


GERMAN = "der die das und ist nicht haus wasser morgen abend straße schön groß kind brot sonne"
TRAIN = {code: sentences(GERMAN if code == "deu" else WORDS, 80, code) for code in THREE}
HELD_OUT = {code: sentences(GERMAN if code == "deu" else WORDS, 40, f"{code} held out") for code in THREE}


@pytest.fixture(scope="module")
def identifier() -> CombinedIdentifier:
    """Two codes with the same language's text, and another language."""
    return CombinedIdentifier.train(TRAIN, use_langid=False)


def test_languages_whose_held_out_sentences_are_confused_are_a_group_and_others_are_not(identifier):
    [group] = find_groups(identifier, HELD_OUT)
    assert group.languages == ("bos", "hrv") and group.temperature > 1
    assert find_groups(identifier, {code: HELD_OUT[code] for code in ("bos", "deu")}) == ()
    assert find_groups(identifier, {"bos": HELD_OUT["bos"]}) == find_groups(identifier, {}) == ()


def test_sentences_without_letters_say_nothing(identifier):
    assert find_groups(identifier, {"bos": HELD_OUT["bos"], "deu": ["12 345"] * 20}) == ()


def test_two_mistakes_are_an_accident(identifier):
    few = {"bos": HELD_OUT["bos"][:2], "hrv": HELD_OUT["hrv"][:2], "deu": HELD_OUT["deu"]}
    assert find_groups(identifier, few) == ()


def test_languages_linked_by_a_third_are_one_group():
    class Fixed:
        languages = ("aaa", "bbb", "ccc", "ddd")

        def posterior(self, texts):
            return np.array([json.loads(text.split(" ")[1]) for text in texts])

        def identify(self, texts):
            return self.posterior(texts), np.ones(len(texts))

    rows = {"aaa": [0.4, 0.6, 0, 0], "bbb": [0.1, 0.3, 0.6, 0], "ccc": [0, 0.1, 0.9, 0], "ddd": [0, 0, 0, 1]}
    [group] = find_groups(
        Fixed(), {code: [f"text {json.dumps(row, separators=(',', ':'))}"] * 5 for code, row in rows.items()}
    )
    assert group.languages == ("aaa", "bbb", "ccc")


def test_the_temperature_of_a_group_is_that_of_greatest_likelihood():
    class Overconfident:
        languages = ("aaa", "bbb")

        def posterior(self, texts):
            return np.array([[0.99, 0.01] if text == "a" else [0.01, 0.99] for text in texts])

        def identify(self, texts):
            return self.posterior(texts), np.ones(len(texts))

    # Right in three of four: log-odds of log 3 instead of log 99 are right, a temperature of log 99 / log 3 = 4.18.
    [group] = find_groups(Overconfident(), {"aaa": ["a", "a", "a", "b"] * 5, "bbb": ["b", "b", "b", "a"] * 5})
    assert group.temperature == pytest.approx(4.18, rel=0.06)  # a step of the grid is a factor of 1.105


def test_a_prior_shifts_log_odds_and_a_temperature_divides_them():
    posterior = np.array([[0.6, 0.3, 0.1]])
    found = Relatives({"hrv": -1.0}).adjust(posterior, THREE)
    assert np.log(found[0, 1] / found[0, 0]) == pytest.approx(np.log(0.5) - 1)
    assert found[0, 2] / found[0, 0] == pytest.approx(1 / 6) and found.sum() == pytest.approx(1)
    softened = Relatives(groups=(Group(("bos", "hrv"), 2.0),)).adjust(posterior, THREE)
    assert softened[0, :2].sum() == pytest.approx(0.9) and softened[0, 0] / softened[0, 1] == pytest.approx(2**0.5)
    assert Relatives().adjust(posterior, THREE) is posterior
    assert Relatives({"zul": -3.0}).adjust(posterior, THREE) == pytest.approx(posterior)


def test_relatives_share_an_answer_and_its_weights_go_to_all_their_experts(identifier):
    relatives = Relatives(groups=find_groups(identifier, HELD_OUT))
    weigher = ExpertWeigher(PLAN, identifier.languages, relatives=relatives)
    known = RelativesIdentifier(identifier, relatives)
    routes = route_texts([*HELD_OUT["bos"], *HELD_OUT["hrv"]], known, weigher)
    shared = [route for route in routes if route.language == "bos/hrv"]
    assert len(shared) > 0.9 * len(routes)
    for route in shared:
        assert route.languages == ("bos", "hrv") and route.confidence > 0.5
        assert min(route.weights["b"], route.weights["h"]) > 0.1 > route.weights.get("d", 0.0)
        assert "Bosnian/Croatian (bos/hrv)" in route.reason and "their experts (b and h) share" in route.reason
    [german] = route_texts(HELD_OUT["deu"][:1], known, weigher)
    assert german.language == "deu" and german.languages == ("deu",)
    assert asdict(shared[0])["language"] == "bos/hrv"
    assert route_texts(["42"], known, weigher)[0].languages == ()


def test_the_same_where_other_languages_are_known_too(identifier):
    relatives = Relatives(groups=(Group(("bos", "hrv"), 3.0),))
    weigher = ExpertWeigher(PLAN, identifier.languages, relatives=relatives)
    opened = OpenIdentifier(RelativesIdentifier(identifier, relatives))
    whole = ExpertWeigher(PLAN, opened.languages, relatives=relatives)
    [route] = route_openly(HELD_OUT["hrv"][:1], opened, weigher, lambda: whole)
    assert route.language == "bos/hrv"


def test_a_text_that_decides_is_not_shared():
    weigher = ExpertWeigher(PLAN, THREE, relatives=Relatives(groups=(Group(("bos", "hrv")),)))
    clear, unclear = weigher.route(np.array([[0.91, 0.09, 0.0], [0.6, 0.3, 0.1]]))
    assert (clear.language, unclear.language) == ("bos", "bos/hrv")
    assert unclear.confidence == pytest.approx(0.9) and unclear.weights["h"] == pytest.approx(0.3)


def test_the_expert_of_least_expected_loss_leads_a_shared_answer():
    losses = {"b": {"bos": 2.0, "hrv": 2.6, "deu": 4.0}, "h": {"bos": 2.1, "hrv": 2.1, "deu": 4.0}}
    losses["d"] = {"bos": 4.0, "hrv": 4.0, "deu": 2.0}
    weigher = ExpertWeigher(PLAN, THREE, losses=losses, relatives=Relatives(groups=(Group(("bos", "hrv")),)))
    [route] = weigher.route(np.array([[0.6, 0.4, 0.0]]))
    # Expected: b 2.24, h 2.10. By half that (all to h), by half 0.6 of bos to b and 0.4 of hrv to h.
    assert route.weights["h"] == pytest.approx(0.7, abs=0.01) and route.weights["b"] == pytest.approx(0.3, abs=0.01)
    assert "h has most of it" in route.reason


def test_dialects_of_one_expert_share_its_answer():
    weigher = ExpertWeigher(
        {"south": ["bos", "hrv"], "d": ["deu"]}, THREE, relatives=Relatives(groups=(Group(("bos", "hrv")),))
    )
    [route] = weigher.route(np.array([[0.6, 0.4, 0.0]]))
    assert route.weights == {"south": 1.0} and "south was trained on all of them" in route.reason


def test_written_and_read_again_and_nothing_is_written_of_nothing(tmp_path):
    relatives = Relatives({"hrv": -1.5}, (Group(("bos", "hrv"), 2.0),))
    relatives.save(tmp_path)
    assert Relatives.load(tmp_path) == relatives and relatives.with_prior("hrv", 0.0).priors == {}
    Relatives().save(tmp_path)
    assert not (tmp_path / FILE_NAME).exists() and Relatives.load(tmp_path) == Relatives()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"priors": {"hrv": 1.0}},
        {"priors": {"hrv": "much"}},
        {"priors": []},
        {"groups": [{"languages": ["bos"], "temperature": 1.0}]},
        {"groups": [{"languages": ["bos", "hrv"], "temperature": 0.5}]},
        {
            "groups": [
                {"languages": ["bos", "hrv"], "temperature": 1.0},
                {"languages": ["hrv", "deu"], "temperature": 1.0},
            ]
        },
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    Relatives({"hrv": -1.5}).save(tmp_path)
    index = json.loads((tmp_path / FILE_NAME).read_text())
    (tmp_path / FILE_NAME).write_text(json.dumps(index | change))
    with pytest.raises(BadInput, match=r"relatives\.json"):
        Relatives.load(tmp_path)
