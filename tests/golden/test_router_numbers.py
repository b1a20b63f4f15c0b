"""Every formula of `router` with one value worked out by hand (the working stands beside it)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from clustering.plans.documents import TextSpace
from router.identify import combined, ngram
from router.identify.combined import CombinedIdentifier
from router.identify.langid import LangidIdentifier
from router.identify.ngram import NgramIdentifier, NgramTable, make_table
from router.identify.open import OpenIdentifier
from router.identify.samples import TextSample, sample_texts
from router.identify.spans import SWITCH_COST, segment
from router.mixture.logspace import LEAST_LOG_PROB, log_posterior, mix, token_log_probs
from router.routes.affinity import language_affinity, loss_table
from router.routes.centres import TextCentres
from router.routes.policy import NEGLIGIBLE_WEIGHT, apply_policy
from router.routes.route import FOREIGN_ODDS
from router.routes.weigh import ExpertWeigher, RoutingRule
from router.scoring.texts import Score, mix_token_log_probs
from router.scoring.windows import windows_of

NEAR = pytest.approx
E1 = 1 / (1 + math.exp(-1))
"""Of two experts whose logits differ by 1: 0.7311 and 0.2689."""
GREETINGS = {"deu": ["Guten Morgen, wie geht es Ihnen"], "nld": ["Goedemorgen, hoe gaat het met u"]}


def _distances(table: dict[tuple[str, str], float]):
    def distances(codes: Sequence[str]) -> np.ndarray:
        return np.array([[table.get((a, b), table.get((b, a), 0.0)) for b in codes] for a in codes])

    return distances


def test_the_defaults_of_the_rule() -> None:
    assert RoutingRule() == RoutingRule(
        distance_temperature=0.1, loss_temperature=0.02, threshold=0.0, fallback="ensemble"
    )


@pytest.mark.parametrize(
    ("rule", "gap"),
    [(RoutingRule(loss_temperature=0.5), 0.5), (RoutingRule(), 0.02), (RoutingRule(loss_temperature=2), 2)],
)
def test_losses_weigh_by_their_temperature(rule: RoutingRule, gap: float) -> None:
    # Both languages likely: expected losses (1 + 2)/2 = 1.5 and 1.5 + gap; logits −1.5/T and −(1.5 + gap)/T: one apart.
    losses = {"a": {"deu": 1.0, "rus": 2.0}, "b": {"deu": 2.0 + gap, "rus": 1.0 + gap}}
    weigher = ExpertWeigher({"a": ["deu"], "b": ["rus"]}, ["deu", "rus"], losses=losses, rule=rule)
    assert weigher.weights(np.array([[0.5, 0.5]]))[0].tolist() == NEAR([E1, 1 - E1])


def test_without_losses_the_plan_decides() -> None:
    weigher = ExpertWeigher({"a": ["deu", "nld"], "b": ["rus", "deu"]}, ["deu", "nld", "rus"])
    # German has two owners and is halved: 0.5·0.5 + 0.3 = 0.55.
    assert weigher.weights(np.array([[0.5, 0.3, 0.2]]))[0].tolist() == NEAR([0.55, 0.45])


def test_a_language_without_an_expert_goes_by_its_nearest_relative() -> None:
    # To a: the nearer of 0.1 and 0.7 (their mean, 0.4, would point to b); to b: 0.2. Over 0.1: one apart.
    near = _distances({("ita", "deu"): 0.7, ("ita", "fra"): 0.1, ("ita", "rus"): 0.2})
    plan = {"a": ["deu", "fra"], "b": ["rus"]}
    found = language_affinity(plan, ["ita", "deu"], ["a", "b", "base"], near, 0.1)
    assert found[0].tolist() == NEAR([E1, 1 - E1, 0.0])
    assert found[1].tolist() == [1.0, 0.0, 0.0]


def test_an_unknown_distance_counts_as_the_farthest_known() -> None:
    near = _distances({("ita", "deu"): 0.2, ("ita", "rus"): float("nan"), ("ita", "jpn"): 0.3})
    found = language_affinity({"a": ["deu"], "b": ["rus"], "c": ["jpn"]}, ["ita"], ["a", "b", "c"], near, 0.1)
    odds = [1.0, math.exp(-1), math.exp(-1)]
    assert found[0].tolist() == NEAR([value / sum(odds) for value in odds])


def test_a_language_without_losses_takes_those_of_its_relatives() -> None:
    near = _distances({("ita", "deu"): 0.1, ("ita", "rus"): 0.2})
    losses = {"a": {"deu": 1.0, "rus": 2.0}, "b": {"deu": 4.0, "rus": 3.0}}
    found = loss_table(losses, ["deu", "ita", "rus"], ["a", "b"], near, 0.1)
    assert found[:, 1].tolist() == NEAR([1.0 * E1 + 2.0 * (1 - E1), 4.0 * E1 + 3.0 * (1 - E1)])


def test_under_the_threshold_the_fallback_answers() -> None:
    rule = RoutingRule(threshold=0.8, fallback="base")
    weigher = ExpertWeigher({"a": ["deu"], "b": ["rus"]}, ["deu", "rus"], ["a", "b", "base"], rule=rule)
    sure, half, strange = weigher.route(
        np.array([[0.9, 0.1], [0.9, 0.1], [1.0, 0.0]]), familiarity_B=np.array([0.9, 0.8, 0.8])
    )
    assert sure.confidence == NEAR(0.81) and not sure.abstained and sure.weights == NEAR({"a": 0.9, "b": 0.1})
    assert half.confidence == NEAR(0.72) and half.abstained and half.weights == {"base": 1.0}
    assert not strange.abstained  # 0.8 is not under 0.8


def test_policies() -> None:
    weights = np.array([[0.5, 0.3, 0.2]])
    assert apply_policy(weights, "top1", "abc")[0].tolist() == [1.0, 0.0, 0.0]
    assert apply_policy(weights, "topm", "abc")[0].tolist() == NEAR([0.625, 0.375, 0.0])  # 0.5 / 0.8, 0.3 / 0.8
    assert (NEGLIGIBLE_WEIGHT, FOREIGN_ODDS, SWITCH_COST) == (1e-4, 4.0, 6.0)
    small = np.array([[0.99985, 1e-4, 5e-5]])  # 0.0001 stays, 0.00005 goes
    assert apply_policy(small, "ensemble", "abc")[0].tolist() == NEAR([0.99985 / 0.99995, 1e-4 / 0.99995, 0.0])


def test_a_mixture_adds_probabilities_and_bayes_follows_the_text() -> None:
    one, other = np.log([0.5, 0.1]), np.log([0.25, 0.9])
    even = mix_token_log_probs([(0.5, one), (0.5, other)], dynamic=False)
    assert np.exp(even).tolist() == NEAR([0.375, 0.5])
    # After the first token the weights are 0.5·0.5 : 0.5·0.25 = 2/3 : 1/3.
    bayes = mix_token_log_probs([(0.5, one), (0.5, other)], dynamic=True)
    assert np.exp(bayes).tolist() == NEAR([0.375, 2 / 3 * 0.1 + 1 / 3 * 0.9])


def test_bits_per_byte() -> None:
    assert Score(nats=8 * math.log(2), tokens=2, bytes=4).bits_per_byte == NEAR(2.0)


def test_langid_is_cooled_by_length() -> None:
    texts = ["Guten Tag", "Guten Tag, wie geht es Ihnen heute?"]
    identifier = LangidIdentifier(["deu", "nld"])
    scores, lengths = identifier.log_likelihoods(texts)
    assert lengths.tolist() == [9, 35]
    # Temperature 0.785 · bytes ** 0.369: 1.766 for 9 bytes, 2.916 for 35 (fitted in experiments/routing).
    for row, temperature in enumerate((1.7660, 2.9152)):
        odds = math.exp((scores[row, 1] - scores[row, 0]) / temperature)
        assert identifier.posterior(texts)[row, 0] == NEAR(1 / (1 + odds), rel=1e-3)


def test_a_run_s_softening_raises_the_temperature() -> None:
    tables = NgramIdentifier.train(GREETINGS)
    sharp, soft = (CombinedIdentifier(tables, use_langid=False, softening=s) for s in (0.0, math.log(2)))
    for of in (lambda identifier: identifier.posterior(["Guten Tag"]), lambda i: i.identify(["Guten Tag"])[0]):
        log_odds = [float(np.log(p[0, 0] / p[0, 1])) for p in (of(sharp), of(soft))]
        assert log_odds[1] == NEAR(log_odds[0] / 2)  # at twice the temperature half the log-odds


def test_n_grams_are_cooled_by_length_and_langid_has_its_share() -> None:
    tables = NgramIdentifier.train(GREETINGS)
    evidence, letters = tables.evidence(["Guten Tag"])
    gap = evidence[0, 0] - evidence[0, 1]
    assert letters.tolist() == [9]

    def log_odds(posterior: np.ndarray) -> float:
        return float(np.log(posterior[0, 0] / posterior[0, 1]))

    # Alone: 7.8 · 9 ** 0.416 = 19.4552; in the combination: 9 · 9 ** 0.436 = 23.4582.
    assert log_odds(tables.posterior(["Guten Tag"])) == NEAR(gap / 19.4552, rel=1e-4)
    assert log_odds(CombinedIdentifier(tables, use_langid=False).posterior(["Guten Tag"])) == NEAR(
        gap / 23.4582, rel=1e-4
    )
    world = LangidIdentifier()
    opinion = world.posterior(["Guten Tag"])[0]
    lead = math.log(opinion[world.languages.index("deu")] / opinion[world.languages.index("nld")])
    both = CombinedIdentifier(tables).posterior(["Guten Tag"])
    assert log_odds(both) == NEAR(gap / 23.4582 + 0.31 * lead, rel=1e-4)
    assert combined.LANGID_UNKNOWN == -6.2


def test_familiarity_is_logistic_with_nine_to_one_before() -> None:
    tables = NgramIdentifier.train(GREETINGS)
    for identifier, (*slopes, constant) in (
        (CombinedIdentifier(tables), (6.37, 0.6, -6.73, 8.44, 8.6, -4.84)),  # langid knows German
        (CombinedIdentifier(tables, use_langid=False), (1.0, 0.0, -1.82, 2.07, 28.75, -3.28)),
    ):
        features, *_ = identifier.familiarity_features(["Guten Tag"])
        log_odds = float(features[0] @ slopes) + constant + math.log(9)
        assert identifier.familiarity(["Guten Tag"])[0] == NEAR(1 / (1 + math.exp(-log_odds)))


def test_what_familiarity_is_judged_by() -> None:
    table = NgramTable(np.array([1], dtype=np.uint32), np.array([16], dtype=np.uint8), 2.0, 10)
    identifier = CombinedIdentifier(NgramIdentifier({"deu": table, "nld": table}), use_langid=False)
    found = identifier._spellings.as_they_stand(np.array([[60.0, 30.0], [60.0, 6.0]]), np.array([40, 10]))
    features, known, respelt = identifier._features(np.array([0, 0]), found, None)
    # 60 nats over 40 letters over the usual 2 nats: 0.75; the next 0.375, under 0.4: lead 0.35; log(40 / 20).
    assert features[0].tolist() == NEAR([0.75, 0.0, math.log(2), 0.75 * math.log(2), 0.35])
    # 10 letters count as 20: log 1 = 0.
    assert features[1].tolist() == NEAR([3.0, 0.0, 0.0, 0.0, 2.6])
    assert not known.any() and not respelt.any()


def test_langid_speaks_for_all_languages_of_the_run_together() -> None:
    identifier = CombinedIdentifier(NgramIdentifier.train(GREETINGS))
    classes = LangidIdentifier().languages
    said = np.full((1, len(classes)), 0.4 / (len(classes) - 2))
    said[0, [classes.index("deu"), classes.index("nld")]] = 0.3  # 0.6 for the run: log(0.6 / 0.4)
    found = identifier._spellings.as_they_stand(np.array([[60.0, 30.0]]), np.array([40]))
    features, known, _ = identifier._features(np.array([0]), found, np.log(said))
    assert features[0, 1] == NEAR(math.log(1.5)) and known.all()


def test_an_open_posterior_shares_out_by_familiarity() -> None:
    opened = OpenIdentifier(CombinedIdentifier(NgramIdentifier.train(GREETINGS)))
    joint = opened.joint(np.array([[0.75, 0.25]]), np.array([0.8]), np.array([[0.5, 0.5]]))
    assert joint[0].tolist() == NEAR([0.6, 0.2, 0.1, 0.1])


def test_weights_of_n_grams() -> None:
    # " aa ": 4 characters; of order 1 two (the a's), which are 2 of 2: log(1 + (2 − 0.5) / 2 / 1e-7) = 15.83 nats, in
    # sixteenths 253. Each other n-gram comes once among 3, 2 or 1 of its order: log(1 + 0.5 / 3 / 1e-7) = 14.33: 229.
    table = make_table("deu", TextSample(("aa",), ("aa",)))
    expected = sorted(round(math.log1p(share / 1e-7) * 16) for share in (1.5 / 2, *[0.5 / 3] * 3, *[0.5 / 2] * 2, 0.5))
    assert sorted(table.weights.tolist()) == expected
    assert (table.num_letters, ngram.MAX_TABLE_SIZE) == (2, 20_000)


def test_a_tenth_is_held_out_of_a_sample() -> None:
    sample = sample_texts("deu", ["a" * 500] * 30, seed=0)  # 30 pieces of 500 characters
    assert (len(sample.train), len(sample.held_out)) == (27, 3)
    many = sample_texts("deu", ["a" * 500] * 900, seed=0)  # at most 40 held out, 300,000 characters kept
    assert (len(many.train), len(many.held_out)) == (600, 40)


def test_a_change_of_language_must_gain_six_nats() -> None:
    class Fixed:
        languages = ("deu", "nld")

        def __init__(self, lead: float) -> None:
            self.second = math.exp(-lead)

        def posterior(self, texts: Sequence[str]) -> np.ndarray:
            right = 1 / (1 + self.second)
            return np.array([[right, 1 - right] if "d" in text else [1 - right, right] for text in texts])

    # Three words of each; going over saves three leads: at 1.9 nats 5.7 < 6, at 2.1 6.3 > 6.
    text = "d d d n n n"
    assert len(segment(text, Fixed(1.9))) == 1
    assert [span.language for span in segment(text, Fixed(2.1))] == ["deu", "nld"]


def test_softening_is_fitted_to_how_often_the_answer_is_wrong() -> None:
    identifier = CombinedIdentifier(NgramIdentifier.train(GREETINGS), use_langid=False)
    spans = ["Guten Morgen", "wie geht es"] * 4
    assert identifier._fit_softening(spans, np.zeros(8, dtype=int)) == 0.0  # all right: as sharp as it may be
    assert identifier._fit_softening(spans, np.array([0, 1] * 4)) == 1.5  # half of them wrong: as soft as it may be


def test_the_grid_of_softenings_only_softens() -> None:
    assert combined.SOFTENING_GRID.tolist() == NEAR([0.1 * step for step in range(16)])
    assert (combined.NUM_SPANS, combined.ANY_TEXT) == (40, 0.4)


def test_a_mixture_in_torch_adds_probabilities_too() -> None:
    experts = [torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.1, 0.9]]]).log()]
    weights = [torch.tensor([[0.75]]).log(), torch.tensor([[0.25]]).log()]
    # 0.75 · 0.5 + 0.25 · 0.1 and 0.75 · 0.5 + 0.25 · 0.9
    assert mix(experts, weights).exp().flatten().tolist() == NEAR([0.4, 0.6])
    # Weights after tokens to which the experts give 0.5 and 0.1, then 0.5 and 0.9: 0.375 : 0.025, 0.1875 : 0.0225.
    likelihood = torch.tensor([[[0.5, 0.5], [0.1, 0.9]]]).log()
    after = log_posterior(torch.tensor([[[0.75], [0.25]]]).log(), likelihood).exp()[0, 0]
    assert after.tolist() == NEAR([0.375 / 0.4, 0.1875 / 0.21])
    assert token_log_probs(torch.tensor([[[0.0, -torch.inf]]]), torch.tensor([[1]])).item() == LEAST_LOG_PROB == -1e4


def test_windows_overlap_by_half_unless_told_otherwise() -> None:
    def cut(*arguments: int) -> list[tuple[int, int, int]]:
        return [(w.start, w.stop, w.first_scored) for w in windows_of(0, *arguments)]

    # Of 10 tokens, 4 at a time: each window has 2 tokens of context and scores the next 2.
    assert cut(10, 4) == [(0, 4, 1), (2, 6, 4), (4, 8, 6), (6, 10, 8)]
    assert cut(6, 4, 1) == [(0, 4, 1), (1, 5, 4), (2, 6, 5)]
    assert cut(5, 4) == [(0, 4, 1), (1, 5, 4)]  # the last one is full too
    assert cut(4, 4) == [(0, 4, 1)] and cut(1, 4) == []


def test_centres_weigh_by_the_fourth_power_of_distance() -> None:
    space = TextSpace(np.ones(4, dtype=np.float32), np.eye(2, 4, dtype=np.float32))
    means = {"deu": np.array([1.0, 0.0]), "nld": np.array([0.0, 1.0]), "rus": np.array([0.0, -1.0])}
    centres = TextCentres(space, means, {"deu": 1, "nld": 3, "rus": 2})
    # w ∝ exp(-D² / 0.1), D the squared distance: D = 0.2 and 0.5 give exp(-0.4) : exp(-2.5).
    assert centres.weights(np.array([[0.2, 0.5]]))[0, 0] == NEAR(1 / (1 + math.exp(-2.1)))
    # A centre is the mean of all documents: 1/4 of German and 3/4 of Dutch.
    assert centres.centres({"a": ["deu", "nld"], "b": ["rus"]}).tolist() == [[0.25, 0.75], [0.0, -1.0]]
