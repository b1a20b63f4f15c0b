"""Every formula of `clustering` with one value worked out by hand (the working stands beside it)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clustering import rank_sources
from clustering.distances import uriel
from clustering.distances.kinds import distance_matrix, distances_from, weights_of
from clustering.distances.own import distances_from_vectors
from clustering.plans import advice
from clustering.plans.advice import Figure, advise
from clustering.plans.documents import text_points
from clustering.plans.effects import Effects, Probe
from clustering.plans.hierarchy import balance_by_languages, balance_by_tokens, cut, linkage_of
from clustering.plans.measured import even_sizes, least_cost_groups, nearest_cluster, predicted_cost
from clustering.plans.methods import Evidence
from clustering.plans.pairs import group_by_pairs
from clustering.plans.plan import ClusterPlan
from clustering.plans.quality import adjusted_rand, balance, family_purity, silhouette
from clustering.rankers.metrics import ndcg, regret, relevance
from clustering.sources.profiles import Profile, overlap
from clustering.sources.signals import default_contributions, shared_family_information, text_signals

NEAR = pytest.approx
# Distances of three points: 0-1 near, 2 apart.
THREE = np.array([[0.0, 0.04, 0.36], [0.04, 0.0, 0.25], [0.36, 0.25, 0.0]])


@pytest.mark.parametrize(
    ("name", "heights"),
    [
        # Ward adds squares, so it takes the roots 0.2, 0.6, 0.5 (Euclidean, of cosine distances). The first merge is at
        # 0.2; the second at √(((1+1)·0.36 + (1+1)·0.25 − 1·0.04) / 3) = √(1.18 / 3) (Lance and Williams 1967).
        ("ward", [0.2, math.sqrt(1.18 / 3)]),
        ("average", [0.04, 0.305]),  # (0.36 + 0.25) / 2
        ("complete", [0.04, 0.36]),
        ("single", [0.04, 0.25]),
    ],
)
def test_heights_of_linkages(name: str, heights: list[float]) -> None:
    assert linkage_of(THREE, name)[:, 2].tolist() == NEAR(heights)


def test_cut_keeps_the_last_merges_apart() -> None:
    assert cut(linkage_of(THREE, "ward"), 3, 2) == [[0, 1], [2]]
    assert cut(linkage_of(THREE, "ward"), 3, 3) == [[0], [1], [2]]


def test_pairs_join_the_nearest_first_at_the_nearest_distance() -> None:
    merges = group_by_pairs(Evidence(THREE), 1).linkage
    assert merges is not None
    assert merges.tolist() == [[0, 1, 0.04, 2], [3, 2, 0.25, 3]]  # single linkage: min(0.36, 0.25)


def test_pairs_of_groups_are_as_near_as_their_nearest_languages() -> None:
    # After the first round {0, 1}, {2, 3} and 4 are left. The nearest of the first two are 0.3 apart (farthest 0.9),
    # of the last two 0.4 (farthest 0.45): the first two join.
    values = np.zeros((5, 5))
    for (one, other), gap in {
        (0, 1): 0.1, (2, 3): 0.1, (1, 2): 0.3, (0, 3): 0.9, (0, 2): 0.8, (1, 3): 0.8,
        (2, 4): 0.4, (3, 4): 0.45, (0, 4): 1.0, (1, 4): 1.0,
    }.items():  # fmt: skip
        values[one, other] = values[other, one] = gap
    assert group_by_pairs(Evidence(values), 2).groups == [[0, 1, 2, 3], [4]]


def test_silhouette_is_own_against_next() -> None:
    # Of 0: own 0.04, next 0.36: (0.36 − 0.04) / 0.36; of 1: (0.25 − 0.04) / 0.25; alone: 0.
    assert silhouette(THREE, [[0, 1], [2]]) == NEAR((0.32 / 0.36 + 0.21 / 0.25 + 0) / 3)
    assert silhouette(THREE, [[0, 1, 2]]) is None
    assert silhouette(THREE, [[0], [1], [2]]) == 0.0


def test_adjusted_rand_by_hubert_and_arabie() -> None:
    # {0,1,2}{3,4,5} against {0,1}{2,3}{4,5}: pairs together in both 2; 6 and 3 in each; expected 6·3/15 = 1.2;
    # (2 − 1.2) / ((6 + 3)/2 − 1.2) = 0.8 / 3.3.
    assert adjusted_rand(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])) == NEAR(0.8 / 3.3)
    assert adjusted_rand(np.array([0, 1]), np.array([1, 0])) == 1.0
    assert adjusted_rand(np.array([0, 0, 0]), np.array([0, 0, 0])) == 1.0


def test_balance_and_purity() -> None:
    assert balance([[0, 1, 2], [3]]) == NEAR(2 / 3)  # mean 2 over the largest, 3
    assert balance([[0, 1], [2]], np.array([5.0, 1.0, 3.0])) == NEAR(4.5 / 6)
    # deu and nld are Indo-European, jpn is Japonic: in {deu, nld, jpn} two of three, in {rus} one of one.
    assert family_purity(["deu", "nld", "jpn", "rus"], [[0, 1, 2], [3]]) == NEAR(3 / 4)


def test_balanced_groups() -> None:
    points = np.array([0.0, 0.1, 0.2, 0.9])
    values = np.abs(points[:, None] - points)
    assert balance_by_languages(values, [[0, 1, 2], [3]]) == [[0, 1], [2, 3]]
    # Centres 1 and 3 stay. Room: max(1.1 · 100/2, 40) = 55. Largest first: 0 (40, with 1 it is 50), then 2 (10), which
    # no longer fits there (60), goes to 3 (40 + 10).
    assert balance_by_tokens(values, [[0, 1, 2], [3]], np.array([40.0, 10.0, 10.0, 40.0])) == [[0, 1], [2, 3]]
    # Room 1.1 · 80/2 = 44: 0 comes to 8 + 30 = 38, and 2 just fits at its nearest, 38 + 6 = 44.
    assert balance_by_tokens(values, [[0, 1, 2], [3]], np.array([30.0, 8.0, 6.0, 36.0])) == [[0, 1, 2], [3]]


def test_kinds_are_weighted_means() -> None:
    assert weights_of("typological") == {
        "syntactic": NEAR(1 / 3),
        "phonological": NEAR(1 / 3),
        "inventory": NEAR(1 / 3),
    }
    assert weights_of("combined") == {"syntactic": NEAR(0.5), "genetic": NEAR(0.25), "geographic": NEAR(0.25)}


def test_genetic_distance_counts_the_language_itself() -> None:
    german, dutch = uriel.family_of("deu"), uriel.family_of("nld")
    shared = len(set(german) & set(dutch))
    assert shared > 0
    expected = 1 - shared / math.sqrt((len(german) + 1) * (len(dutch) + 1))
    assert distance_matrix(["deu", "nld"], "genetic").values[0, 1] == NEAR(expected)


def test_place_is_the_great_circle_over_half_the_globe() -> None:
    (lat1, lon1), (lat2, lon2) = (np.radians(uriel.coordinates(code)) for code in ("deu", "jpn"))
    cosine = math.sin(lat1) * math.sin(lat2) + math.cos(lat1) * math.cos(lat2) * math.cos(lon1 - lon2)
    assert distance_matrix(["deu", "jpn"], "geographic").values[0, 1] == NEAR(math.acos(cosine) / math.pi, abs=1e-6)
    assert distances_from("deu", ["geographic"], ["deu", "jpn"]).values["geographic"][0] == 0.0


def test_features_are_cosines() -> None:
    table, rows = uriel.features(), uriel.row_of()
    columns = table.columns("phonological")
    one, other = (table.filled[rows[code], columns].astype(float) for code in ("deu", "jpn"))
    cosine = one @ other / math.sqrt((one @ one) * (other @ other))
    assert distance_matrix(["deu", "jpn"], "phonological").values[0, 1] == NEAR(1 - cosine, abs=1e-6)


def test_a_member_with_less_than_a_tenth_is_read_from_its_macrolanguage() -> None:
    assert uriel.SPARSE_SHARE == 0.1
    assert uriel.typology_code("pbt").uriel_code == "pus" and uriel.typology_code("deu").uriel_code == "deu"


def test_vectors_are_compared_by_half_the_cosine_distance() -> None:
    vectors = {"deu": np.array([1.0, 0.0]), "nld": np.array([0.0, 2.0]), "rus": np.array([-1.0, 0.0])}
    values = distances_from_vectors(vectors, centre=False).values
    assert values[0].tolist() == NEAR([0.0, 0.5, 1.0])  # (1 − cos) / 2 at 0, 90 and 180 degrees
    # Centred on (0, 2/3): (1, −2/3), (0, 4/3), (−1, −2/3); cos of the first two −(2/3)/√(1 + 4/9) = −0.5547.
    assert distances_from_vectors(vectors).values[0, 1] == NEAR((1 + (2 / 3) / math.sqrt(13 / 9)) / 2)


def test_points_of_text_have_length_one() -> None:
    points = text_points(["aa bb", "aa bb", "cc dd"])
    assert np.linalg.norm(points, axis=1).tolist() == NEAR([1.0, 1.0, 1.0])
    assert points[0] @ points[1] == NEAR(1.0) and points[0] @ points[2] < 0.2


def _profile(words: dict[str, int], subwords: dict[str, int]) -> Profile:
    return Profile(words, subwords, documents=1, num_bytes=9)


def test_overlap_is_over_the_types_of_both() -> None:
    assert overlap({"a": 9, "b": 1}, {"b": 5, "c": 1}) == NEAR(1 / 4)  # one shared, two and two
    assert math.isnan(overlap({}, {}))


def test_signals_from_text() -> None:
    target = _profile({"a": 1, "b": 3}, {"x": 1})  # 4 words, 2 types: ratio 0.5
    source = _profile({"b": 4, "c": 2, "d": 2}, {"x": 1, "y": 1})  # 8 words, 3 types: ratio 0.375
    found = {name: values[0] for name, values in text_signals(target, [source]).items()}
    assert found == {
        "subword_overlap": NEAR(1 / 3),
        "word_overlap": NEAR(1 / 5),
        "shared_script": 1.0,
        "latin_overlap": NEAR(1 / 5),
        "size_ratio": NEAR(8 / 4),
        "source_size": 8.0,
        "target_size": 4.0,
        "source_ttr": NEAR(0.375),
        "target_ttr": NEAR(0.5),
        "ttr_distance": NEAR((1 - 0.375 / 0.5) ** 2),
    }


def test_the_default_ranking_adds_five_signals_in_their_units() -> None:
    raw = {
        "subword_overlap": np.array([0.04, 0.16, 0.36]),
        "word_overlap": np.array([9.0, 9.0, 9.0]),  # not asked where subwords are known
        "shared_family": np.array([10.0, 5.0, 0.0]),
        "syntactic": np.array([0.1, 0.2, 0.3]),
        "geographic": np.array([0.0, 1500.0, 4500.0]),
        "size_ratio": np.array([0.0, 1.0, 3.0]),
        "source_size": np.array([9.0, 9.0, 9.0]),
    }
    found = default_contributions(raw)
    log2 = math.log(2)
    assert set(found) == {"subword_overlap", "shared_family", "syntactic", "geographic", "size_ratio"}
    # √overlap is 0.2, 0.4, 0.6 with standard deviation √(0.08 / 3) = 0.1633: 0.2 / 0.1633 = √1.5 from one to the next.
    assert found["subword_overlap"].tolist() == NEAR([-math.sqrt(1.5), 0.0, math.sqrt(1.5)])
    assert found["shared_family"].tolist() == NEAR([1.0, 0.0, -1.0])  # 5 nats a unit
    assert found["syntactic"].tolist() == NEAR([1.0, 0.0, -1.0])  # 0.1 a unit
    assert found["geographic"].tolist() == NEAR([log2, 0.0, -log2])  # log(1 + km / 1500): 0, log 2, log 4
    assert found["size_ratio"].tolist() == NEAR([-log2, 0.0, log2])  # log(1 + ratio): 0, log 2, log 4
    alone = default_contributions({"source_size": np.array([0.5, math.e**2]), "word_overlap": np.array([0.1, 0.1])})
    assert alone["source_size"].tolist() == NEAR([-1.0, 1.0])  # log of at least one word: 0 and 2
    assert alone["word_overlap"].tolist() == [0.0, 0.0]  # no spread, no say
    unknown = default_contributions({"syntactic": np.array([0.1, np.nan, 0.3])})
    assert unknown["syntactic"].tolist() == NEAR([1.0, 0.0, -1.0])  # unknown counts as the mean


def test_the_default_ranking_of_six_languages() -> None:
    ranking = rank_sources("swh", ["zul", "deu", "kor", "ara", "eng", "fin"]).ranking
    assert {score.language: round(score.score, 3) for score in ranking} == {
        # As of lang2vec 1.1.2 at b3b3713; the formula stands above.
        "zul": 7.371,
        "ara": 1.016,
        "fin": -1.228,
        "deu": -1.318,
        "eng": -1.570,
        "kor": -4.271,
    }
    first = next(iter(ranking))
    assert first.signals["geographic"] == NEAR(2014, abs=1)  # km from Swahili to Zulu


def test_shared_family_nodes_count_by_how_rare_they_are() -> None:
    shared = set(uriel.family_of("deu")) & set(uriel.family_of("nld"))
    table = uriel.families()
    everyone = len(uriel.languages())
    columns = {name.removeprefix("F_"): column for column, name in enumerate(table.names)}
    expected = sum(math.log(everyone / np.count_nonzero(table.columns == columns[name])) for name in shared)
    assert shared_family_information("deu", ["nld", "jpn"]).tolist() == NEAR([expected, 0.0], rel=0.02)


def test_the_weights_of_a_mean_sum_to_one() -> None:
    # 2 + 1 = 3: two thirds and one third.
    assert weights_of({"syntactic": 2, "genetic": 1}) == pytest.approx({"syntactic": 2 / 3, "genetic": 1 / 3})
    # typological is three kinds with a third of its weight each: 1/3 of 1 of 2 in all, and 1 of 2.
    found = weights_of("typological+genetic")
    assert found["genetic"] == pytest.approx(1 / 2) and found["syntactic"] == pytest.approx(1 / 6)


# Effects of three languages: row trained on, column read.
EFFECTS = Effects.of(["deu", "nld", "rus"], [[0.0, 1.0, 3.0], [2.0, 0.0, -1.0], [5.0, 0.0, 0.0]])


def test_effects_as_distances_go_from_the_best_pair_to_the_worst() -> None:
    # Means of both directions: 1.5, 4 and -0.5; from -0.5 (0) to 4 (1) these are 2/4.5, 1 and 0.
    found = EFFECTS.distances().values
    assert found[0].tolist() == NEAR([0.0, 2 / 4.5, 1.0])
    assert found[1, 2] == 0.0


def test_the_cost_of_a_plan_is_the_sum_of_both_directions_within_clusters() -> None:
    plan = ClusterPlan({"a": ["deu", "nld"], "b": ["rus"]}, "by hand")
    assert predicted_cost(plan, EFFECTS) == 3.0  # 1 + 2
    # Russian with German: (5 + 3) / 2; with Dutch: (0 - 1) / 2. The least is the best place.
    near = nearest_cluster(EFFECTS, "rus", ClusterPlan({"a": ["deu"], "b": ["nld"]}, "by hand"))
    assert list(near.items()) == [("b", -0.5), ("a", 4.0)]


def test_groups_of_least_cost() -> None:
    assert even_sizes(7, 3) == [3, 2, 2]
    # Pairs cost 1 + 9 (0 1, 2 3), 2 + 2 (0 2, 1 3), 3 + 8 (0 3, 1 2): the middle one, though 0 1 is the cheapest pair.
    table = np.array([[0, 1, 2, 3], [0, 0, 8, 2], [0, 0, 0, 9], [0, 0, 0, 0]], dtype=float)
    assert least_cost_groups(table, [2, 2]) == [[0, 2], [1, 3]]


def _probe(tokens: int, own: float, joint: float) -> Probe:
    """A probe of two languages: each alone changes its bits by `own`, both together by `joint`."""
    matrix = np.array([[own, 0.01], [0.01, own]])
    return Probe({"deu": tokens, "nld": tokens}, matrix, np.full((2, 2), np.nan), np.array([joint, joint]))


def test_advice_carries_the_gain_along_a_line_over_the_logarithm_of_tokens() -> None:
    # Alone against together: 0.99 / 0.9 - 1 = 0.1 at 100 tokens, 0.96 / 0.8 - 1 = 0.2 at 1,000; so 0.1 a factor of 10:
    # 0.3 at 10,000 tokens a language, and 0 at 10.
    effects = Effects(("deu", "nld"), _probe(1000, -0.2, -0.04), shorter=_probe(100, -0.1, -0.01), budget_tokens=20_000)
    assert effects.tokens == 4400  # both sizes of both languages, and of both together
    found = advise(effects)
    assert found.effect.value == NEAR(0.01) and found.gain is not None and found.gain.value == NEAR(0.2)
    assert found.expected is not None and found.expected.value == NEAR(0.3)
    assert found.turns_at == NEAR(10.0)
    assert (found.verdict, found.tokens, found.budget) == ("split", 1000.0, 10_000.0)


def test_what_splitting_spares_is_a_mean_over_languages() -> None:
    # All together cost 10; Dutch with Russian -1, so two clusters spare 11, and three 10: over three languages.
    assert [row.spared for row in advise(EFFECTS).rows] == NEAR([0.0, 11 / 3, 10 / 3])


def test_a_figure_is_certain_at_two_standard_errors() -> None:
    # 1, 2, 3, 4: mean 2.5; standard deviation √(5/3), over √4.
    figure = advice._figure(np.array([1.0, 2.0, np.nan, 3.0, 4.0]))
    assert (figure.value, figure.error) == NEAR((2.5, math.sqrt(5 / 3) / 2))
    assert Figure(2.0, 1.0).is_certain and not Figure(1.99, 1.0).is_certain


def test_the_smallest_k_that_spares_four_fifths_is_suggested() -> None:
    plan = ClusterPlan({"a": ["deu"]}, "by hand")
    rows = [advice.Row(k, plan, 0.0, spared) for k, spared in enumerate([0.0, 0.79, 0.8, 1.0], start=1)]
    assert advice._suggested(rows, "split") == 3
    assert advice._suggested(rows, "undecided") == 1


def test_relevance_ndcg_and_regret() -> None:
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    assert relevance(scores).tolist() == [10, 9, 8, 7]
    assert relevance(np.arange(12.0)).tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert relevance(np.array([2.0, 2.0, 1.0])).tolist() == [10, 10, 8]
    # Gains 2^relevance - 1: 1023, 511, 255, 127; discounts 1, 1 / log2(3), 1 / 2.
    second, ideal = 1 / math.log2(3), 1023 + 511 / math.log2(3) + 255 / 2
    assert ndcg(np.array([2.0, 3.0, 1.0, 0.0]), scores) == NEAR(100 * (511 + 1023 * second + 255 / 2) / ideal)
    # Ties count with their mean: (1023 + 511) / 2 twice, then (255 + 127) / 2.
    tied = ndcg(np.array([1.0, 1.0, 0.0, 0.0]), scores)
    assert tied == NEAR(100 * (767 + 767 * second + 191 / 2) / ideal)
    # The best is fourth in the ranking, so the best of its top three has 3 of 4.
    assert regret(np.array([0.0, 1.0, 2.0, 3.0]), scores) == 25.0
