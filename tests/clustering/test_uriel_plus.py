"""URIEL+: sources are merged by its rules, distances are its own, what it lacks is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clustering.distances import uriel_plus
from clustering.distances.kinds import coverage_of, distance_matrix
from clustering.distances.uriel import typology_code
from clustering.errors import BadInput
from clustering.plans.make import cluster_languages
from xelm.cli.cluster import command

EIGHT = ["de", "nl", "sv", "ru", "bg", "pl", "tr", "az"]


def _forget() -> None:
    for cached in (uriel_plus._features, uriel_plus._values, uriel_plus._known_counts):
        cached.cache_clear()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four languages and a rule of each sort, laid out like the package."""
    feats = ["S_SOV", "S_OV", "P_CLICKS", "INV_T", "INV_TS"]
    data = np.full((4, len(feats), 2), -1, dtype=np.float32)  # deu, nld, tur, xho; WALS, PHOIBLE_SAPHON
    data[0, :2, 0] = [1, -1]
    data[1, :2, 0] = [0, -1]
    data[2, 2, 1] = 0
    data[2, 3:, 1] = [0, 1]
    (tmp_path / "original_uriel").mkdir()
    np.savez(
        tmp_path / "original_uriel" / "features.npz",
        feats=np.array(feats),
        langs=np.array(["deu", "nld", "tur", "xho"]),
        data=data,
        sources=np.array(["WALS", "PHOIBLE_SAPHON"]),
    )
    tables = {
        "uriel_glottocode_map.csv": "iso_code,glottocode\ndeu,stan1295\nnld,dutc1256\ntur,nucl1301\nxho,xhos1239\n",
        "saphon_data.csv": "iso_code,glottocode,P_CLICKS,INV_T\ntur,nucl1301,1.0,0.0\nzzz,none1234,1.0,1.0\n",
        "grambank_data.csv": "language_id,S_ARTICLE,M_CASE\nstan1295,1,1\ndutc1256,1,0\nnone1234,0,0\n",
        "feature_mappings.json": json.dumps(
            [
                _rule("exact_collapse", "WALS", ["S_SOV"], "S_OV", "OR(S_SOV, S_OV)", "collapsed_into"),
                _rule(
                    "exact_collapse",
                    "DERIVED",
                    ["S_SOV"],
                    "S_OV",
                    "OR(S_SOV)",
                    "represented",
                    "removed_urielplus_operand",
                ),
                _rule("positive_implication", "DERIVED", ["INV_TS"], "INV_T", "ANY_POSITIVE(INV_TS)", "represented"),
            ]
        ),
    }
    (tmp_path / "urielplus_csvs").mkdir()
    for name, text in tables.items():
        (tmp_path / "urielplus_csvs" / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(uriel_plus, "_data_file", tmp_path.joinpath)
    _forget()
    yield
    _forget()


def _rule(
    relationship: str, layer: str, signs: list[str], target: str, text: str, disposition: str, namespace: str = "other"
) -> dict[str, object]:
    return {
        "relationship": relationship,
        "source_layer": layer,
        "source_features": [{"namespace": namespace, "id": sign} for sign in signs],
        "bundled_columns": [],
        "targets": [{"matrix": "typological", "feature_id": target, "expression": text}],
        "disposition": disposition,
    }


def test_sources_are_merged_by_the_rules(small: None) -> None:
    table = uriel_plus._features()
    rows = {code: dict(zip(table.names, table.values[row].tolist(), strict=True)) for code, row in table.row_of.items()}
    assert set(table.names) == {"S_OV", "S_ARTICLE", "M_CASE", "P_CLICKS", "INV_T", "INV_TS"}  # S_SOV is redundant
    assert (rows["deu"]["S_OV"], rows["nld"]["S_OV"]) == (1, -1)  # nld: one of the two is not known to be absent
    assert (rows["deu"]["M_CASE"], rows["nld"]["M_CASE"], rows["xho"]["M_CASE"]) == (1, 0, -1)
    assert rows["tur"]["P_CLICKS"] == 1  # the newer SAPHON replaces the older
    assert rows["tur"]["INV_T"] == 1  # implied by INV_TS


def test_distance_is_the_angle_on_shared_features(small: None) -> None:
    found = distance_matrix(["deu", "nld", "tur"], "uriel+")
    assert found.values[0, 1] == pytest.approx(0.5)  # (1, 1) and (1, 0): 45 of 90 degrees
    assert found.coverage.tolist() == [[3, 2, 0], [2, 2, 0], [0, 0, 3]]
    assert found.values[0, 2] == 1.0  # nothing shared
    assert distance_matrix(["deu", "nld"], "uriel+:syntactic").values[0, 1] == 0.0


def test_languages_without_features_are_named(small: None) -> None:
    with pytest.raises(
        BadInput, match=r"no morphological features of: Turkish \(tur\), Xhosa \(xho\), Swahili \(swa\)"
    ):
        distance_matrix(["deu", "tur", "xho", "swa"], "uriel+:morphological")
    assert set(coverage_of(["deu", "xho", "swa"], "uriel+")) == {"deu"}


def test_an_unknown_kind_is_refused(small: None) -> None:
    with pytest.raises(BadInput, match=r"Unknown kind of distance 'uriel\+:lexical'.*uriel\+:morphological"):
        distance_matrix(["deu", "nld"], "uriel+:lexical")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    _forget()
    monkeypatch.setattr(uriel_plus, "distribution", absent)
    with pytest.raises(BadInput, match=r"pip install 'xelm\[urielplus\]'"):
        cluster_languages(["deu", "nld"], 2, distances="uriel+")


def test_its_way_to_count_unknown_features_cannot_be_changed(small: None) -> None:
    with pytest.raises(BadInput, match=r"missing='shared': uriel\+ has a way of its own"):
        distance_matrix(["deu", "nld"], "uriel+", missing="shared")


def test_real_matrix_is_a_distance_whatever_the_order() -> None:
    pytest.importorskip("urielplus")
    found = distance_matrix(EIGHT, "uriel+")
    assert found.kind == "uriel+"
    assert np.array_equal(found.values, found.values.T)
    assert not found.values.diagonal().any()
    assert ((found.values >= 0) & (found.values <= 1)).all()
    turned = distance_matrix(EIGHT[::-1], "uriel+")
    assert np.array_equal(turned.subset(found.languages).values, found.values)


@pytest.mark.parametrize(
    ("pair", "kind", "expected"),
    [  # as urielplus 1.3.2 answers after integrate_custom_databases("UPDATED_SAPHON", "GRAMBANK")
        (("tur", "deu"), "uriel+", 0.4928),
        (("tur", "deu"), "uriel+:syntactic", 0.6156),
        (("azj", "tur"), "uriel+:morphological", 0.1755),
        (("swh", "hin"), "uriel+:inventory", 0.5559),
        (("swh", "hin"), "uriel+:phonological", 0.5),
    ],
)
def test_real_values_are_those_of_the_package(pair: tuple[str, str], kind: str, expected: float) -> None:
    pytest.importorskip("urielplus")
    assert distance_matrix(pair, kind).values[0, 1] == pytest.approx(expected, abs=1e-4)


def test_grambank_adds_to_what_uriel_knows() -> None:
    pytest.importorskip("urielplus")
    assert coverage_of(["tur"], "uriel+:syntactic")["tur"].num_known > typology_code("tur").num_known


def test_the_command_groups_by_uriel_plus_and_shows_its_coverage() -> None:
    pytest.importorskip("urielplus")
    result = CliRunner().invoke(command, [*EIGHT, "-k", "3", "--distance", "uriel+", "--stability"])
    assert result.exit_code == 0, result.output
    assert "Azerbaijani, Turkish" in result.output
    assert "on uriel+ distances" in result.output
    assert "read as azj" in result.output
    assert "stability -" not in result.output and "stability" in result.output
