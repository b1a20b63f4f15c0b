"""Plans from measured effects: the least interference there is, even groups, and advice that follows the sign."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from clustering import Effects, cluster_languages
from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.plans.advice import advise
from clustering.plans.effects import Probe
from clustering.plans.measured import (
    even_sizes,
    least_cost_groups,
    measured_plan,
    nearest_cluster,
    predicted_cost,
)
from clustering.plans.plan import ClusterPlan

CODES = ["bul", "ces", "deu", "fra", "ita", "jpn", "kor", "nld", "pol", "por", "rus", "spa", "srp", "tur", "ukr", "zho"]


def _random(num_languages: int, seed: int = 0, mean: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.05, (num_languages, num_languages))


def _within(matrix: np.ndarray, groups: list[list[int]]) -> float:
    return sum(matrix[i, j] for group in groups for i in group for j in group if i != j)


def _by_brute_force(matrix: np.ndarray, sizes: list[int]) -> float:
    labels = [number for number, size in enumerate(sizes) for _ in range(size)]
    return min(
        _within(matrix, [[row for row in range(len(owners)) if owners[row] == number] for number in range(len(sizes))])
        for owners in set(itertools.permutations(labels))
    )


@pytest.mark.parametrize(("num_languages", "k"), [(4, 2), (5, 2), (7, 3), (8, 4), (3, 1), (3, 3)])
def test_few_languages_get_the_best_plan_of_all(num_languages: int, k: int) -> None:
    for seed in range(3):
        matrix, sizes = _random(num_languages, seed), even_sizes(num_languages, k)
        groups = least_cost_groups(matrix, sizes)
        assert sorted(map(len, groups), reverse=True) == sizes
        assert _within(matrix, groups) == pytest.approx(_by_brute_force(matrix, sizes))


def test_the_search_for_many_languages_finds_a_hidden_plan_and_is_quick() -> None:
    hidden = [[0, 5, 9], [1, 6, 10], [2, 7, 11], [3, 8, 12], [4, 13, 14, 15]]
    matrix = _random(16, 3, mean=0.5)
    for group in hidden:
        matrix[np.ix_(group, group)] = 0.1
    shuffled = np.random.default_rng(1).permutation(16)
    started_s = time.process_time()
    groups = least_cost_groups(matrix[np.ix_(shuffled, shuffled)], [4, 3, 3, 3, 3])
    assert time.process_time() - started_s < 2.0
    assert sorted(sorted(int(shuffled[row]) for row in group) for group in groups) == sorted(hidden)


def test_sizes_that_differ_by_one_are_tried_on_every_group() -> None:
    # The one language that harms nobody is no reason to leave the odd seat where the search began.
    matrix = np.full((16, 16), 0.2)
    matrix[15, :] = matrix[:, 15] = -0.3
    groups = least_cost_groups(matrix, even_sizes(16, 5))
    assert len(next(group for group in groups if 15 in group)) == 4


def test_a_plan_from_effects_is_even_and_does_not_hang_on_order() -> None:
    effects = Effects.of(CODES, _random(16))
    plan = cluster_languages(CODES, k=5, effects=effects)
    assert plan.method == "measured"
    assert sorted(map(len, plan.clusters.values())) == [3, 3, 3, 3, 4]
    assert plan.distances is not None and plan.distances.kind == "measured effects"
    shuffled = [CODES[row] for row in np.random.default_rng(2).permutation(16)]
    assert cluster_languages(shuffled, k=5, method="measured", effects=effects).clusters == plan.clusters
    worst = measured_plan(CODES, 5, effects, most=True)
    typological = cluster_languages(CODES, k=5)
    costs = [predicted_cost(other, effects) for other in (plan, typological, worst)]
    assert costs == sorted(costs) and costs[0] < costs[1] < costs[2]


def test_plans_are_made_from_shorter_branches_where_all_languages_have_one() -> None:
    codes = ["deu", "nld", "jpn", "kor"]
    longer, shorter = np.full((4, 4), 0.5), np.full((4, 4), 0.2)
    longer[0, 2] = longer[1, 3] = shorter[0, 3] = shorter[1, 2] = 0.1

    def probe(matrix: np.ndarray) -> Probe:
        return Probe(dict.fromkeys(codes, 10), matrix, np.full((4, 4), np.nan))

    both = Effects(tuple(codes), probe(longer), probe(shorter))
    plan = cluster_languages(codes, k=2, effects=both)
    assert sorted(plan.clusters.values()) == [["deu", "kor"], ["jpn", "nld"]]
    # deu on kor and nld on jpn cost 0.1, their ways back 0.2.
    assert predicted_cost(plan, both) == pytest.approx(2 * (0.1 + 0.2))
    assert both.matrix is longer
    shorter[3, 3] = np.nan  # Korean's part was too small for two sizes
    partly = Effects(tuple(codes), probe(longer), probe(shorter))
    assert sorted(cluster_languages(codes, k=2, effects=partly).clusters.values()) == [["deu", "jpn"], ["kor", "nld"]]


def test_equal_effects_are_decided_by_typology() -> None:
    codes = ["deu", "jpn", "kor", "nld", "por", "spa"]
    plan = cluster_languages(codes, k=3, effects=Effects.of(codes, np.full((6, 6), 0.1)))
    assert sorted(plan.clusters.values()) == [["deu", "nld"], ["jpn", "kor"], ["por", "spa"]]
    # The smallest real difference counts more.
    matrix = np.full((6, 6), 0.1)
    matrix[0, 1] = matrix[1, 0] = 0.1 - 1e-6
    assert ["deu", "jpn"] in cluster_languages(codes, k=3, effects=Effects.of(codes, matrix)).clusters.values()


def test_languages_are_found_by_any_name_and_a_part_of_them_will_do(tmp_path: Path) -> None:
    Effects.of(["swh", "deu", "nld", "jpn"], _random(4)).save(tmp_path / "effects.json")
    plan = cluster_languages(["Swahili", "German", "jpn"], k=2, effects=tmp_path / "effects.json")
    assert sorted(plan.languages) == ["deu", "jpn", "swa"]
    with pytest.raises(BadInput, match="not measured for: kor"):
        cluster_languages(["deu", "kor"], k=1, effects=tmp_path / "effects.json")


def test_effects_come_back_from_their_file(tmp_path: Path) -> None:
    probe = Probe({"deu": 10, "nld": 20}, _random(2), np.array([[0.1, np.nan], [0.2, 0.3]]))
    layers = {"layer_cosines": {"0": np.eye(2)}, "layer_sizes": {"0": np.array([0.5, np.nan])}}
    effects = Effects(("deu", "nld"), probe, probe, np.ones(2), np.eye(2), **layers, budget_tokens=500)
    effects.save(tmp_path / "e.json")
    again = Effects.load(tmp_path / "e.json")
    assert again.to_dict()["probe"]["matrix"] == effects.to_dict()["probe"]["matrix"]
    assert (again.tokens, again.budget_tokens) == (60, 500)
    assert np.array_equal(again.layer_sizes["0"], [0.5, np.nan], equal_nan=True)
    assert np.array_equal(again.matrix, effects.matrix) and np.array_equal(again.errors, effects.errors, equal_nan=True)
    value = read_json(tmp_path / "e.json")
    for key, wrong, message in [
        ("format", "other", "no effects"),
        ("format_version", 99, "reads 1"),
        ("probe", {"tokens": {}}, "damaged"),
        ("languages", ["deu"], "shape"),
    ]:
        write_json(tmp_path / "bad.json", {**value, key: wrong})
        with pytest.raises(BadInput, match=message):
            Effects.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "measured"}, "needs effects"),
        ({"effects": True, "method": "average"}, "not both"),
        ({"effects": True, "balance": "tokens"}, "even numbers"),
        ({"effects": True, "distances": "syntactic"}, "not both"),
        ({"effects": True, "k": 9}, "k=9 does not fit"),
    ],
)
def test_what_does_not_go_with_effects_is_refused(arguments: dict, message: str) -> None:
    effects = Effects.of(["deu", "nld", "jpn"], _random(3))
    options = {"k": 2, **arguments}
    if "effects" in options:
        options["effects"] = effects
    with pytest.raises(BadInput, match=message):
        cluster_languages(["deu", "nld", "jpn"], **options)


def test_a_new_language_goes_where_it_harms_least() -> None:
    matrix = np.full((4, 4), np.nan)
    matrix[3] = [0.3, 0.2, -0.1, 0.0]  # measured alone: its own row is all there is
    plan = ClusterPlan({"a": ["deu", "nld"], "b": ["jpn"]}, "by hand")
    places = nearest_cluster(Effects.of(["deu", "nld", "jpn", "kor"], matrix), "kor", plan)
    assert list(places) == ["b", "a"]
    assert places["a"] == pytest.approx(0.25)
    with pytest.raises(BadInput, match="was not measured"):
        cluster_languages(["deu", "nld"], k=1, effects=Effects.of(["deu", "nld", "jpn", "kor"], matrix))


def _sizes(short: float, long: float, noise: float = 0.002, alone: float = 1.1) -> Effects:
    """Effects where a language alone gains `short` at 1,000 tokens and `long` at 4,000, of a budget of 100,000.

    Alone its bits are multiplied by `alone`.
    """

    def probe(gain: float, tokens: int) -> Probe:
        rng = np.random.default_rng(5)
        matrix = np.full((6, 6), 0.1)
        np.fill_diagonal(matrix, alone - 1)
        joint = (1 + gain + rng.normal(0, noise, 6)) * alone - 1
        return Probe(dict.fromkeys(CODES[:6], tokens), matrix, np.full((6, 6), 0.001), joint)

    return Effects(tuple(CODES[:6]), probe(long, 4_000), probe(short, 1_000), budget_tokens=6 * 100_000)


def test_advice_holds_alone_against_together() -> None:
    alone = advise(_sizes(0.02, 0.03))
    assert (alone.verdict, alone.k > 1) == ("split", True)
    assert alone.gain is not None and alone.gain.value == pytest.approx(0.03, abs=0.003)
    assert alone.rows[0].spared == 0 and alone.rows[-1].cost == 0
    assert alone.rows[-1].spared == pytest.approx(5 * alone.effect.value)
    together = advise(_sizes(-0.02, -0.03))
    assert (together.verdict, together.k) == ("one", 1)
    assert "one cluster" in " ".join(together.sentences())
    assert advise(_sizes(0.0, 0.0, noise=0.05)).verdict == "undecided"


def test_advice_says_where_it_is_expected_to_turn() -> None:
    turning = advise(_sizes(-0.03, -0.02, noise=0.0))
    # A line over log tokens: -0.03 at 1,000, -0.02 at 4,000, so 0 two quadruplings later.
    assert turning.turns_at == pytest.approx(4_000 * 16)
    assert turning.expected is not None
    assert turning.expected.value == pytest.approx(-0.02 + 0.01 * np.log(25) / np.log(4))
    assert turning.verdict == "split"  # at 100,000 tokens a language
    said = " ".join(turning.sentences())
    assert "break even at about 64,000 tokens a language: with fewer, together is better, with more, alone." in said
    behind = advise(_sizes(-0.01, -0.02, noise=0.0))
    assert (behind.turns_at, behind.verdict) == (pytest.approx(250), "one")
    assert "about 250 tokens a language: with fewer, alone is better, with more, together." in " ".join(
        behind.sentences()
    )


def test_a_base_that_still_learns_from_everything_is_better_not_split_unless_alone_is_surely_better() -> None:
    learning = advise(_sizes(-0.03, -0.02, noise=0.0, alone=0.8))
    assert learning.expected is not None and learning.expected.value > 0
    assert learning.learning is not None and learning.learning.value == pytest.approx(0.98 * 0.8 - 1)
    assert (learning.verdict, learning.k) == ("one", 1)
    assert "the base still learns from text of any language" in " ".join(learning.sentences())
    assert advise(_sizes(-0.03, -0.02, noise=0.0, alone=1.1)).verdict == "split"
    assert advise(_sizes(0.02, 0.03, alone=0.8)).verdict == "split"


def test_advice_goes_by_the_sign_of_effects_where_nothing_else_was_measured() -> None:
    help_ = np.random.default_rng(0).normal(-0.05, 0.01, (6, 6))
    assert advise(Effects.of(CODES[:6], help_)).verdict == "one"
    assert advise(Effects.of(CODES[:6], -help_)).verdict == "split"
    alone = advise(Effects.of(["deu"], [[-0.2]]))
    assert (alone.verdict, alone.k) == ("one", 1)


def test_measuring_all_together_counts_in_its_tokens(tmp_path: Path) -> None:
    effects = _sizes(0.1, 0.2)
    assert effects.tokens == 2 * 6 * 5_000
    effects.save(tmp_path / "e.json")
    again = Effects.load(tmp_path / "e.json")
    assert again.tokens == effects.tokens
    assert np.array_equal(again.probe.split_gains, effects.probe.split_gains)
