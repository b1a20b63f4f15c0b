"""Weights along a text: each expert reads as far as it has weight, and the mixture is the weighted sum everywhere."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from clustering.errors import BadInput
from router.mixture.experts import MixedExperts
from router.scoring.growing import GrowingWeights, mix_growing, reading_points, score_growing
from router.scoring.tokens import ScoringOptions, token_log_probs
from tests.router.tiny import VOCABULARY, gpt2, llama, naive_probs

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def experts():
    return {name: make(seed) for seed, (name, make) in enumerate(zip(NAMES, (llama, gpt2, llama), strict=True))}


def test_readings_come_at_least_twice_for_each_doubling():
    assert reading_points(50) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]
    assert reading_points(0) == [] and reading_points(1) == [1] and reading_points(5) == [1, 2, 3, 4]
    long = reading_points(5000)
    assert all(later <= max(earlier + 1, earlier * 1.5) for earlier, later in pairwise(long))


@pytest.mark.parametrize("dynamic", [False, True, 0.5])
def test_the_mixture_is_the_weighted_sum_at_every_position(experts, dynamic):
    generator = np.random.default_rng(0)
    tokens = generator.integers(3, VOCABULARY, size=20).tolist()
    weights_SK = np.array([[0.2, 0.3, 0.5], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]])
    growing = GrowingWeights((0, 4, 11), weights_SK)
    [found] = score_growing([tokens], [growing], MixedExperts(NAMES, experts, dynamic))
    power = float(dynamic)
    probs = naive_probs(list(experts.values()), tokens)
    likelihood, want = np.ones(3), []
    for position, token in enumerate(tokens[1:]):
        w = growing.at_each(19)[position] * likelihood**power
        want.append(np.log((w / w.sum() * probs[:, position, token]).sum()))
        likelihood = likelihood * probs[:, position, token]
    assert found == pytest.approx(want, abs=1e-4)


def test_an_expert_reads_no_further_than_its_last_weight(experts):
    tokens = np.random.default_rng(1).integers(3, VOCABULARY, size=60).tolist()
    growing = GrowingWeights((0, 3, 8), np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert growing.needed(59).tolist() == [59, 8, 0]
    read: dict[str, int] = {}

    def get(name):
        model = experts[name]

        class Counting:
            config, device, parameters = model.config, model.device, staticmethod(model.parameters)

            def __call__(self, input_ids, **kwargs):
                read[name] = read.get(name, 0) + input_ids.shape[1]
                return model(input_ids=input_ids, **kwargs)

        return Counting()

    score_growing([tokens], [growing], MixedExperts(NAMES, SimpleNamespace(get=get)))
    assert read == {"a": 60, "b": 9}


def test_windows_of_a_text_read_in_part_lie_where_they_lay(experts):
    tokens = np.random.default_rng(2).integers(3, VOCABULARY, size=50).tolist()
    options = ScoringOptions(context=16, stride=4)
    whole = token_log_probs(experts["a"], [tokens], options)[0]
    for stop in (1, 2, 9, 16, 17, 20, 33, 49, 50):
        [part] = token_log_probs(experts["a"], [tokens], options, stops=[stop])
        assert part.shape == (stop - 1,) and np.allclose(part, whole[: stop - 1], atol=1e-5)


def test_constant_weights_score_as_before(experts):
    tokens = np.random.default_rng(3).integers(3, VOCABULARY, size=12).tolist()
    each = {k: token_log_probs(experts[name], [tokens])[0] for k, name in enumerate(NAMES)}
    mixed = mix_growing(GrowingWeights.constant(np.array([0.5, 0.0, 0.5])), each, 11, False)
    assert mixed == pytest.approx(np.logaddexp(each[0], each[2]) + np.log(0.5))


def test_weights_that_fit_nothing_are_refused(experts):
    with pytest.raises(BadInput, match="do not fit"):
        score_growing([[1, 2]], [GrowingWeights.constant(np.ones(2) / 2)], MixedExperts(NAMES, experts))
