"""Clusters: a partition whatever is asked, independent of order, balanced where asked, measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustering.distances.kinds import distance_matrix
from clustering.distances.matrix import Distances
from clustering.errors import BadInput
from clustering.languages.codes import to_code
from clustering.plans.make import cluster_languages, suggest_k
from clustering.plans.methods import METHODS
from clustering.plans.quality import adjusted_rand, balance, silhouette

WITHOUT_EFFECTS = [name for name in METHODS.names() if METHODS.find(name).needs != "effects"]

_POOL_CODES = "en fr es de el bg ru tr ar vi zh hi sw ur ja ko lvs azj eu fi hu he fil cy ta te yo"
POOL = sorted(to_code(code) for code in _POOL_CODES.split())
SUBSETS = st.lists(st.sampled_from(POOL), min_size=1, max_size=20, unique=True)


def _random_distances(codes: list[str], seed: int) -> Distances:
    values = np.random.default_rng(seed).random((len(codes), len(codes)))
    values = np.triu(values, 1) + np.triu(values, 1).T
    return Distances(tuple(codes), values, np.ones(values.shape, dtype=int), "random")


@settings(max_examples=80, deadline=None)
@given(SUBSETS, st.data())
def test_every_clustering_is_a_partition_into_k(codes: list[str], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(codes)))
    method = data.draw(st.sampled_from(WITHOUT_EFFECTS))
    even = None if method == "pairs" else data.draw(st.sampled_from([None, "languages", "tokens"]))
    tokens = {code: data.draw(st.integers(1, 10**9)) for code in codes} if even == "tokens" else None
    distances = data.draw(st.sampled_from(["random", "same", "measured"]))
    given_distances: Distances | str | None = None if method != "tfidf" else "syntactic"
    if distances != "measured":
        given_distances = _random_distances(codes, 0 if distances == "random" else 1)
        if distances == "same":
            given_distances.values[:] = 0.5 * (1 - np.eye(len(codes)))
    plan = cluster_languages(codes, k, method, balance=even, tokens=tokens, distances=given_distances)
    assert len(plan.clusters) == k
    assert all(plan.clusters.values())
    assert sorted(plan.languages) == sorted(codes)
    if even == "languages" or method == "tfidf":
        sizes = [len(group) for group in plan.clusters.values()]
        if even == "languages" or even is None:
            assert max(sizes) - min(sizes) <= 1


@settings(max_examples=40, deadline=None)
@given(SUBSETS, st.data())
def test_clusters_do_not_depend_on_input_order(codes: list[str], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(codes)))
    method = data.draw(st.sampled_from(sorted(set(WITHOUT_EFFECTS) - {"pairs", "tfidf"})))
    even = data.draw(st.sampled_from([None, "languages", "tokens"]))
    tokens = {code: len(code) + number for number, code in enumerate(POOL)} if even else None
    shuffled = data.draw(st.permutations(codes))
    one = cluster_languages(codes, k, method, balance=even, tokens=tokens)
    other = cluster_languages(shuffled, k, method, balance=even, tokens=tokens)
    assert one.clusters == other.clusters
    assert list(one.clusters) == list(other.clusters)


def test_relatives_land_together() -> None:
    plan = cluster_languages(["deu", "nld", "jpn", "kor", "spa", "ita"], 3)
    assert list(plan.clusters) == ["c1-deu-nld", "c2-ita-spa", "c3-jpn-kor"]


def test_balance_by_languages_moves_as_few_as_it_must() -> None:
    points = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0])
    codes = POOL[:6]
    distances = Distances(tuple(codes), np.abs(points[:, None] - points), np.ones((6, 6), dtype=int), "line")
    assert list(cluster_languages(codes, 2, "average", distances=distances).clusters.values()) == [codes[:4], codes[4:]]
    even = cluster_languages(codes, 2, "average", balance="languages", distances=distances)
    assert list(even.clusters.values()) == [codes[:3], codes[3:]]
    assert even.method == "average+languages"
    assert even.quality.balance == 1.0


def test_balance_by_tokens_evens_out_loads() -> None:
    tokens = {code: 1000 if code in ("eng", "deu") else 100 for code in POOL}
    plain = cluster_languages(POOL, 4, tokens=tokens)
    even = cluster_languages(POOL, 4, balance="tokens", tokens=tokens)
    assert plain.quality.balance is not None and even.quality.balance is not None
    assert even.quality.balance > max(0.8, plain.quality.balance)
    assert even.cluster_of("eng") != even.cluster_of("deu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "Choose 1 .* to 3"),
        ({"k": 4}, "k=4 does not fit 3 languages"),
        ({"k": True}, "does not fit"),
        ({"k": 2, "method": "averag"}, "Did you mean 'average'"),
        ({"k": 2, "method": "nothing like it"}, "Methods: average"),
        ({"k": 2, "balance": "bytes"}, "balance='bytes'"),
        ({"k": 2, "balance": "tokens"}, "needs tokens="),
        ({"k": 2, "balance": "tokens", "tokens": {"deu": 5}}, "tokens lacks: Japanese, Dutch"),
        ({"k": 2, "balance": "tokens", "tokens": {"deu": 0, "nld": 0, "jpn": 0}}, "not all of them 0"),
        ({"k": 2, "method": "pairs", "balance": "languages"}, "pairs"),
        ({"k": 2, "method": "tfidf"}, "give texts="),
        ({"k": 2, "distances": "lexical"}, "Unknown kind of distance"),
        ({"k": 2, "languages": ["deu", "de", "nld"]}, "both mean German"),
        ({"k": 1, "languages": []}, "at least one"),
        ({"k": 1, "languages": "deu"}, "give a list"),
        ({"k": 1, "languages": ["deu", "Klingonn"]}, "Unknown language 'Klingonn'"),
    ],
)
def test_bad_arguments_say_what_is_allowed(arguments: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        cluster_languages(**{"languages": ["deu", "nld", "jpn"], **arguments})


def test_own_distances_are_found_under_any_code_of_a_language() -> None:
    mine = Distances(("swa", "deu", "nld"), np.array([[0, 1, 1], [1, 0, 0.1], [1, 0.1, 0]]), np.ones((3, 3)), "mine")
    assert cluster_languages(["swh", "nl", "de"], 2, distances=mine).clusters == {
        "c1-deu-nld": ["deu", "nld"],
        "c2-swh": ["swh"],
    }


def test_suggest_k_shows_every_k_and_the_trade_off() -> None:
    languages = ["deu", "nld", "swe", "rus", "pol", "bul", "tur"]
    rows = suggest_k(languages, stability=True)
    assert [row.k for row in rows] == list(range(1, 8))
    assert rows[0].quality.silhouette is None and rows[0].largest == 7
    assert rows[-1].quality.silhouette == 0.0 and rows[-1].largest == 1
    assert rows[2].quality.family_purity == 1.0
    assert all(row.quality.stability is not None for row in rows)
    assert [row.k for row in suggest_k(languages, max_k=3)] == [1, 2, 3]


def test_stability_is_high_for_clear_clusters_and_repeats_with_the_seed() -> None:
    clear = ["deu", "nld", "swe", "jpn", "kor"]
    plan = cluster_languages(clear, 2, stability=True, seed=4)
    assert plan.quality.stability is not None and plan.quality.stability > 0.9
    assert cluster_languages(clear, 2, stability=True, seed=4).quality == plan.quality
    assert cluster_languages(clear, 2, "pairs", stability=True).quality.stability is not None
    own = distance_matrix(clear, "syntactic")
    mine = Distances(own.languages, own.values, own.coverage, "mine.csv")
    assert cluster_languages(clear, 2, distances=mine, stability=True).quality.stability is None


def test_silhouette_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    codes = POOL[:12]
    values = _random_distances(codes, 7).values
    labels = np.array([0, 1, 2] * 4)
    labels[-1] = 3
    groups = [np.flatnonzero(labels == number).tolist() for number in range(4)]
    assert silhouette(values, groups) == pytest.approx(silhouette_score(values, labels, metric="precomputed"))
    other = np.array([0, 0, 1, 1, 2, 2] * 2)
    assert adjusted_rand(labels, other) == pytest.approx(adjusted_rand_score(labels, other))


def test_balance_is_mean_over_largest() -> None:
    assert balance([[0, 1, 2], [3]]) == pytest.approx(2 / 3)
    assert balance([[0], [1]], np.array([1.0, 3.0])) == pytest.approx(2 / 3)
