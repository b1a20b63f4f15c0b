"""Every formula of `clustering` with one value worked out by hand (the working stands beside it)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clustering import rank_sources
from clustering.distances import uriel
from clustering.distances.kinds import distance_matrix, distances_from, weights_of
from clustering.distances.own import distances_from_vectors
from clustering.plans.documents import text_points
from clustering.plans.hierarchy import balance_by_languages, balance_by_tokens, cut, linkage_of
from clustering.plans.methods import Evidence
from clustering.plans.pairs import group_by_pairs
from clustering.plans.quality import adjusted_rand, balance, family_purity, silhouette
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
