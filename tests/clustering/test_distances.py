"""Distances: bounds, symmetry, coverage, agreement of the ways to ask, a user's own tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustering.distances import uriel as typology
from clustering.distances.kinds import KINDS, distance_matrix, distances_from, weights_of
from clustering.distances.own import distances_from_vectors, load_distances
from clustering.errors import BadInput

LANGUAGES = st.lists(st.sampled_from(typology.languages()), min_size=1, max_size=12, unique=True)


def _distinct(codes: list[str]) -> list[str]:
    from clustering.languages.codes import same_language_key

    return list({same_language_key(code): code for code in codes}.values())


@settings(max_examples=40, deadline=None)
@given(LANGUAGES, st.sampled_from(KINDS), st.sampled_from(["knn", "shared"]))
def test_matrices_are_symmetric_in_bounds_with_zero_diagonal(codes: list[str], kind: str, missing: str) -> None:
    found = distance_matrix(_distinct_in_uriel(codes), kind, missing)  # type: ignore[arg-type]
    assert np.array_equal(found.values, found.values.T)
    assert (found.values >= 0).all() and (found.values <= 1).all()
    assert (np.diagonal(found.values) == 0).all()
    assert np.array_equal(found.coverage, found.coverage.T)


def _distinct_in_uriel(codes: list[str]) -> list[str]:
    from clustering.languages.codes import UnknownLanguageError, to_code

    kept = []
    for code in _distinct(codes):
        try:
            to_code(code)
        except UnknownLanguageError:  # a code that ISO has retired since URIEL was made
            continue
        kept.append(code)
    return kept or ["eng"]


@settings(max_examples=25, deadline=None)
@given(LANGUAGES, st.sampled_from(KINDS), st.randoms(use_true_random=False))
def test_distances_do_not_depend_on_order(codes: list[str], kind: str, random: object) -> None:
    codes = _distinct_in_uriel(codes)
    shuffled = sorted(codes, key=lambda _: random.random())  # type: ignore[attr-defined]
    one, other = distance_matrix(codes, kind), distance_matrix(shuffled, kind).subset(codes)
    assert np.allclose(one.values, other.values, atol=1e-12)
    assert np.array_equal(one.coverage, other.coverage)


@pytest.mark.parametrize("kind", KINDS)
def test_one_against_many_agrees_with_the_matrix_and_with_all_of_uriel(kind: str) -> None:
    codes = ["swa", "deu", "lvs", "arb", "eus", "fil"]
    matrix = distance_matrix(codes, kind)
    some = distances_from("swa", [kind], codes)
    everyone = distances_from("swa", [kind])
    rows = [everyone.languages.index(code) for code in codes]
    assert np.allclose(some.values[kind], matrix.values[0], atol=1e-9)
    assert np.allclose(everyone.values[kind][rows], matrix.values[0], atol=1e-9)
    assert np.array_equal(some.coverage[kind], matrix.coverage[0])


def test_near_languages_come_first() -> None:
    everyone = distances_from("deu", ["genetic", "combined"])
    for kind in ("genetic", "combined"):
        nearest = [everyone.languages[row] for row in np.argsort(everyone.values[kind], kind="stable")[:200]]
        assert "nld" in nearest
        assert "jpn" not in nearest


def test_coverage_tells_numbers_that_rest_on_nothing() -> None:
    found = distance_matrix(["eng", "nno", "rmy", "deu"], "syntactic")
    assert found.coverage[0, 3] > 80
    predicted = [code for code in ("pnb", "epo", "tlh") if typology.typology_code(code).num_known == 0]
    assert distance_matrix(["eng", predicted[0]], "syntactic").coverage[0, 1] == 0
    assert distance_matrix(["eng", predicted[0]], "syntactic", missing="shared").values[0, 1] == 1.0


def test_shared_counts_only_common_features() -> None:
    table = typology.features()
    columns = table.columns("syntactic")
    rows = [typology.row_of()[code] for code in ("tur", "aze")]
    values = table.averages[np.ix_(rows, columns)]
    both = (values >= 0).all(axis=0)
    left, right = values[:, both]
    expected = 1 - left @ right / np.sqrt((left @ left) * (right @ right))
    found = distance_matrix(["tr", "az"], "syntactic", missing="shared")
    assert found.values[0, 1] == pytest.approx(expected)
    assert found.coverage[0, 1] == both.sum()


def test_genetic_distance_counts_shared_nodes() -> None:
    found = distance_matrix(["deu", "nld", "rus", "eus"], "genetic")
    german, dutch = typology.family_of("deu"), typology.family_of("nld")
    shared = len(set(german) & set(dutch))
    assert found.values[0, 1] == pytest.approx(1 - shared / np.sqrt((len(german) + 1) * (len(dutch) + 1)))
    assert found.values[0, 1] < found.values[0, 2] < found.values[0, 3] == 1.0


def test_kinds_can_be_averaged_and_weighted() -> None:
    codes = ["deu", "nld", "jpn"]
    syntactic, genetic = distance_matrix(codes, "syntactic").values, distance_matrix(codes, "genetic").values
    assert np.allclose(distance_matrix(codes, "syntactic+genetic").values, (syntactic + genetic) / 2)
    weighted = distance_matrix(codes, {"syntactic": 3, "genetic": 1})
    assert np.allclose(weighted.values, 0.75 * syntactic + 0.25 * genetic)
    assert weighted.kind == "syntactic*3+genetic"
    assert np.array_equal(weighted.coverage, distance_matrix(codes, "syntactic+genetic").coverage)


@pytest.mark.parametrize("kind", ["lexical", "syntactic+lexical", {"syntactic": 0.0}, ""])
def test_unknown_kinds_and_weights_are_refused(kind: object) -> None:
    with pytest.raises(BadInput, match=r"Unknown kind|greater than 0"):
        distance_matrix(["deu", "nld"], kind)  # type: ignore[arg-type]


def test_unknown_way_to_count_missing_is_refused() -> None:
    with pytest.raises(BadInput, match="missing='mean'"):
        distance_matrix(["deu", "nld"], missing="mean")  # type: ignore[arg-type]


def test_subset_finds_languages_under_other_codes_and_names_absent_ones() -> None:
    found = distance_matrix(["swa", "deu"])
    assert found.subset(["swh_Latn"]).languages == ("swh",)
    assert found.subset(["German", "sw"]).values[0, 1] == found.values[0, 1]
    with pytest.raises(BadInput, match="no row for: nld"):
        found.subset(["nld"])


def test_vectors_give_angles_whatever_the_order() -> None:
    generator = np.random.default_rng(3)
    vectors = {code: generator.normal(size=8) + 5 for code in ("deu", "nld", "jpn", "kor")}
    found = distances_from_vectors(vectors)
    again = distances_from_vectors(dict(reversed(vectors.items()))).subset(list(found.languages))
    assert np.allclose(found.values, again.values)
    assert found.values.max() > 0.5 > distances_from_vectors(vectors, centre=False).values.max()
    assert (found.coverage == 8).all()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"deu": np.ones(3), "nld": np.ones(2)}, "one size"),
        ({"deu": np.ones(2), "nld": np.array([1.0, np.nan])}, "nld hold NaN"),
        ({"deu": np.ones(2), "nld": np.ones(2)}, "zero after centring"),
        ({}, "one size"),
    ],
)
def test_bad_vectors_are_named(vectors: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        distances_from_vectors(vectors)


def test_matrix_and_vectors_load_from_csv_and_npz(tmp_path: Path) -> None:
    table = np.array([[0, 2, 4], [2, 0, 1], [4, 1, 0]], dtype=float)
    (tmp_path / "d.csv").write_text(",nl,de,ja\nde,2,0,1\nnl,0,2,4\nja,4,1,0\n", encoding="utf-8")
    np.savez(tmp_path / "d.npz", languages=np.array(["nl", "de", "ja"]), distances=table)
    (tmp_path / "v.csv").write_text("lang,x,y\nnl,1,0\nde,1,1\nja,0,1\n", encoding="utf-8")
    np.savez(tmp_path / "v.npz", languages=np.array(["nl", "de", "ja"]), vectors=np.array([[1, 0], [1, 1], [0, 1.0]]))
    from_csv, from_npz = load_distances(tmp_path / "d.csv"), load_distances(tmp_path / "d.npz")
    assert [found.subset(["de", "ja"]).values[0, 1] for found in (from_csv, from_npz)] == [0.25, 0.25]
    assert np.array_equal(from_csv.subset(["nl", "de", "ja"]).values, table / 4)
    assert np.allclose(load_distances(tmp_path / "v.csv").values, load_distances(tmp_path / "v.npz").values)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", ",de,nl\nde,0,1\nnl,2,0\n", "not symmetric"),
        ("d.csv", ",de,nl\nde,0,1\nnl,x,0\n", "line 3"),
        ("d.csv", ",de,nl\nde,0,1\nnl,0\n", "line 3: 2 columns"),
        ("d.csv", ",de,nl\nde,1,1\nnl,1,1\n", "diagonal"),
        ("d.csv", ",de,nl\nde,0,-1\nnl,-1,0\n", "not negative"),
        ("d.csv", ",de,nl\nde,0,nan\nnl,nan,0\n", "finite"),
        ("d.csv", ",de,qq\nde,0,1\nqq,1,0\n", "Unknown language 'qq'"),
        ("d.csv", ",de,deu\nde,0,1\ndeu,1,0\n", "both mean German"),
        ("d.csv", "", "row of column names"),
        ("d.npz", "no archive", "not a readable npz"),
        ("d.txt", "", "not .txt"),
    ],
)
def test_a_bad_file_is_named_with_the_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        load_distances(path)
    assert str(caught.value).startswith(str(path))


def test_npz_with_pickles_or_wrong_shapes_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", languages=np.array(["de", "nl"], dtype=object), distances=np.zeros((2, 2)))
    np.savez(tmp_path / "s.npz", languages=np.array(["de", "nl"]), distances=np.zeros((2, 3)))
    np.savez(tmp_path / "k.npz", codes=np.array(["de", "nl"]))
    for name, message in (("o.npz", "pickled"), ("s.npz", r"shape \(2, 3\)"), ("k.npz", "holds codes")):
        with pytest.raises(BadInput, match=message):
            load_distances(tmp_path / name)
    with pytest.raises(BadInput, match="no such file"):
        load_distances(tmp_path / "none.csv")


def test_a_kind_is_read_as_it_is_written() -> None:
    assert weights_of("combined") == {"syntactic": 0.5, "genetic": 0.25, "geographic": 0.25}
    assert weights_of("uriel+") == {"uriel+": 1.0}
    assert weights_of("uriel+:syntactic") == {"uriel+:syntactic": 1.0}
    assert weights_of("genetic+uriel+") == weights_of("uriel++genetic") == {"genetic": 0.5, "uriel+": 0.5}
    assert weights_of("syntactic*3 + genetic") == {"syntactic": 0.75, "genetic": 0.25}
    with pytest.raises(BadInput, match="The weight of 'genetic' is 0"):
        weights_of("syntactic+genetic*0")
