"""Weights over experts follow the plan, typology, measured losses and the threshold, and say why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.errors import BadInput
from router.routes.policy import apply_policy
from router.routes.weigh import ExpertWeigher, RoutingRule

PLAN = {"germanic": ["deu", "nld"], "slavic": ["rus", "pol"]}
PLACE = {"deu": 0.0, "nld": 0.05, "dan": 0.1, "rus": 0.9, "pol": 0.8, "ces": 0.85, "swh": 2.0}


def distances(codes):
    places = np.array([PLACE.get(code, np.nan) for code in codes])
    return np.abs(places[:, None] - places[None])


def test_languages_of_the_plan_go_to_their_expert():
    weigher = ExpertWeigher(PLAN, ["deu", "rus"])
    assert np.allclose(weigher.weights(np.array([[0.9, 0.1], [0.25, 0.75]])), [[0.9, 0.1], [0.25, 0.75]])


def test_the_same_language_under_another_code_is_owned():
    assert ExpertWeigher({"a": ["swa"], "b": ["zho"]}, ["cmn", "swh"]).weights(np.eye(2)).tolist() == [[0, 1], [1, 0]]


def test_a_language_no_expert_owns_goes_to_its_nearest():
    weigher = ExpertWeigher(PLAN, ["dan", "ces"], distances=distances)
    weights = weigher.weights(np.eye(2))
    assert weights[0, 0] > 0.99 and weights[1, 1] > 0.99
    route = weigher.route(np.array([[0.97, 0.03]]))[0]
    assert route.language == "dan"
    assert "No expert was trained on it; germanic is nearest by typology." in route.reason


NAMES = ["germanic", "slavic", "base"]
LOSSES = {
    "germanic": {"deu": 2.0, "rus": 3.0},
    "slavic": {"deu": 2.1, "rus": 2.0},
    "base": {"deu": 2.2, "rus": 2.2},
}


@pytest.mark.parametrize("losses", [None, LOSSES])
def test_the_base_answers_in_languages_that_no_expert_owns(losses):
    weigher = ExpertWeigher(PLAN, ["deu", "dan", "quy"], NAMES, distances=distances, losses=losses, base="base")
    weights = weigher.weights(np.eye(3))
    assert weights.argmax(1).tolist() == [0, 2, 2] and weights[1:, 2].min() > 0.999
    assert (
        weigher.route(np.eye(3)[1:])[0].reason == "Danish (dan), 100% sure. No expert was trained on it; base answers."
    )


@pytest.mark.parametrize("losses", [None, LOSSES])
def test_probed_losses_send_such_a_language_to_an_expert_that_reads_it_clearly_better(losses):
    def weigher(expert_loss):
        probed = {"germanic": {"dan": expert_loss}, "slavic": {"dan": 4.0}, "base": {"dan": 2.5}}
        return ExpertWeigher(PLAN, ["deu", "dan", "quy"], NAMES, losses=losses, base="base", probed=probed)

    assert weigher(2.2).weights(np.eye(3)).argmax(1).tolist() == [0, 0, 2]
    assert weigher(2.48).weights(np.eye(3))[1].argmax() == 2, "less than the margin of a short text"
    reason = weigher(2.2).route(np.eye(3)[1:2])[0].reason
    assert reason.endswith(
        "No expert was trained on it; germanic reads it best, by the models' loss on a few texts of it."
    )


def test_a_measured_language_that_no_expert_owns_goes_where_it_costs_least():
    losses = {name: {**row, "dan": {"germanic": 2.0, "slavic": 3.0, "base": 2.4}[name]} for name, row in LOSSES.items()}
    weigher = ExpertWeigher(PLAN, ["deu", "dan"], NAMES, losses=losses, base="base")
    assert weigher.weights(np.eye(2)).argmax(1).tolist() == [0, 0]
    assert (
        "No expert was trained on it; germanic has the least expected loss." in weigher.route(np.eye(2)[1:])[0].reason
    )


def test_two_codes_of_one_language_are_asked_for_once():
    asked = []

    def record(codes):
        asked.extend(codes)
        return distances(codes)

    weights = ExpertWeigher(PLAN, ["swa", "swh", "dan"], distances=record).weights(np.eye(3))
    assert asked == ["swa", "dan", "deu", "nld", "rus", "pol"]
    assert np.allclose(weights[0], weights[1])


def test_unknown_distances_and_none_spread_evenly():
    for given_distances in (None, distances):
        weights = ExpertWeigher(PLAN, ["quy"], distances=given_distances).weights(np.ones((1, 1)))
        assert np.allclose(weights, 0.5)


def test_experts_that_share_a_language_share_its_text():
    weigher = ExpertWeigher({"a": ["deu"], "b": ["deu", "rus"]}, ["deu", "rus"])
    assert np.allclose(weigher.weights(np.eye(2)), [[0.5, 0.5], [0, 1]])


def test_least_expected_loss_wins_even_over_the_owner():
    losses = {
        "germanic": {"deu": 2.0, "rus": 3.0},
        "slavic": {"deu": 3.0, "rus": 2.0},
        "base": {"deu": 2.2, "rus": 2.2},
    }
    weigher = ExpertWeigher(PLAN, ["deu", "rus"], ["germanic", "slavic", "base"], losses=losses)
    posterior = np.array([[0.95, 0.05], [0.5, 0.5], [0.1, 0.9]])
    weights = weigher.weights(posterior)
    assert weights.argmax(1).tolist() == [0, 2, 1]  # unsure of the language: the base loses least
    assert "base, not trained on it, has the least expected loss" in weigher.route(posterior)[1].reason


def test_languages_without_losses_borrow_those_of_near_ones():
    losses = {"germanic": {"deu": 2.0, "rus": 3.0}, "slavic": {"deu": 3.0, "rus": 2.0}}
    weigher = ExpertWeigher(PLAN, ["deu", "rus", "ces", "dan"], distances=distances, losses=losses)
    assert weigher.weights(np.eye(4)).argmax(1).tolist() == [0, 1, 1, 0]


def test_under_the_threshold_the_fallback_answers():
    unsure = np.array([[0.55, 0.45], [0.95, 0.05]])
    ensemble = ExpertWeigher(PLAN, ["deu", "rus"], rule=RoutingRule(threshold=0.6)).route(unsure)
    assert [r.abstained for r in ensemble] == [True, False]
    assert ensemble[0].weights == pytest.approx({"germanic": 0.55, "slavic": 0.45})
    assert "under the threshold of 60%" in ensemble[0].reason
    rule = RoutingRule(threshold=0.6, fallback="base")
    based = ExpertWeigher(PLAN, ["deu", "rus"], [*PLAN, "base"], rule=rule).route(unsure)
    assert based[0].weights == {"base": 1.0}
    assert "base" not in based[1].weights


def test_foreign_text_lowers_the_confidence():
    weigher = ExpertWeigher(PLAN, ["deu", "rus"])
    assert weigher.route(np.array([[1.0, 0.0]]), familiarity_B=np.array([0.25]))[0].confidence == 0.25


def test_silent_text_has_no_language():
    route = ExpertWeigher(PLAN, ["deu", "rus"]).route(np.array([[0.5, 0.5]]), silent_B=np.array([True]))[0]
    assert route.language is None and route.confidence == 0
    assert "no letters" in route.reason


def test_reason_names_language_and_expert():
    reason = ExpertWeigher(PLAN, ["deu", "rus"]).route(np.array([[0.99, 0.01]]))[0].reason
    assert reason == "German (deu), 99% sure: germanic was trained on it."


@given(st.lists(st.floats(0.001, 1), min_size=4, max_size=4))
def test_weights_sum_to_one(values):
    posterior = np.array([values]) / sum(values)
    languages = ["deu", "rus", "dan", "quy"]
    losses = {"germanic": {"deu": 2.0}, "slavic": {"deu": 3.0}}
    for measured in (None, losses):
        weigher = ExpertWeigher(PLAN, languages, distances=distances, losses=measured)
        assert weigher.weights(posterior).sum() == pytest.approx(1)
        assert sum(weigher.route(posterior)[0].weights.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExpertWeigher({}, ["deu"]), "at least one expert"),
        (lambda: ExpertWeigher(PLAN, []), "at least one language"),
        (lambda: ExpertWeigher(PLAN, ["deu"], ["germanic"]), "slavic: not among the experts"),
        (lambda: ExpertWeigher(PLAN, ["deu"], rule=RoutingRule(fallback="base")), "base: not among the experts"),
        (lambda: ExpertWeigher(PLAN, ["deu"], losses={"germanic": {"deu": 1.0}}), "losses lack slavic"),
        (lambda: ExpertWeigher(PLAN, ["deu"], losses={n: {"rus": 1.0} for n in PLAN}), "cover none of the languages"),
        (lambda: ExpertWeigher(PLAN, ["deu"]).weights(np.ones((1, 2))), "posterior has shape"),
        (lambda: RoutingRule(threshold=1.5), "threshold=1.5"),
        (lambda: RoutingRule(loss_temperature=0), "loss_temperature=0"),
    ],
)
def test_misuse_is_named(make, message):
    with pytest.raises(BadInput, match=message):
        make()


@pytest.mark.parametrize("num_experts", [3, 300])
def test_however_many_experts_there_are_the_base_answers_alone_in_a_language_that_nothing_was_measured_of(num_experts):
    """300 experts of a weight of e^-10 each had more than a percent together, so `bayes` ran all of them."""
    experts = [f"e{i}" for i in range(num_experts)]
    losses = {name: {"deu": 2.0, "nld": 2.0} for name in [*experts, "base"]}
    plan = {name: ["deu" if name == "e0" else "nld"] for name in experts}
    weigher = ExpertWeigher(plan, ["deu", "nld", "dan"], [*experts, "base"], losses=losses, base="base")
    weights = weigher.weights(np.array([[0.0, 0.0, 1.0]]))
    assert weights[0, -1] > 0.999
    if num_experts > 16:
        assert (apply_policy(weights, "bayes", [*experts, "base"]) > 0).sum() == 1
