"""Typology: the covered row is found, never another language's; places and families are right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clustering.distances import uriel as typology
from clustering.distances.uriel import coordinates, family_of, typology_code
from clustering.errors import BadInput
from clustering.languages.codes import resolve


@pytest.mark.parametrize(
    ("code", "row", "least"),
    [
        ("lvs", "lav", 79),
        ("azj", "aze", 55),
        ("ory", "ori", 50),
        ("pbt", "pus", 75),
        ("fil", "tgl", 74),
        ("ekk", "est", 80),
    ],
)
def test_empty_canonical_codes_are_read_from_the_covered_row(code: str, row: str, least: int) -> None:
    covered = typology_code(code)
    assert (covered.uriel_code, covered.num_total) == (row, 103)
    assert covered.num_known >= least


@pytest.mark.parametrize("code", ["swa", "swh", "eng", "quy", "hrv"])
def test_a_code_that_knows_something_keeps_its_own_row(code: str) -> None:
    assert typology_code(code).uriel_code == code


def test_rows_differ_by_kind() -> None:
    assert typology_code("zho", "genetic").uriel_code == "cmn"
    assert typology_code("cmn", "syntactic").uriel_code == "zho"


def test_every_sib200_language_has_a_row(shared: Path) -> None:
    for file in (shared / "sib200").glob("*.jsonl.gz"):
        assert typology_code(resolve(file.name.split(".")[0]).code).num_total == 103


def test_a_language_that_uriel_lacks_is_named() -> None:
    with pytest.raises(BadInput, match=r"no row for xqz \(xqz\)"):
        typology_code("xqz")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BadInput, match="Unknown kind of typology 'lexical'"):
        typology_code("eng", "lexical")


def test_tables_share_one_order_and_have_all_languages() -> None:
    num_languages = len(typology.languages())
    assert num_languages == 7970
    assert list(typology.languages()) == sorted(typology.languages())
    assert typology.features().averages.shape == (num_languages, 289)
    assert typology.families().counts.shape == (num_languages,)
    assert typology.places().unit.shape == (num_languages, 3)


def test_predictions_keep_what_sources_know_to_be_so() -> None:
    table = typology.features()
    row = typology.row_of()["eng"]
    known = table.known[row] & np.isin(table.averages[row], [0.0, 1.0])
    assert np.allclose(table.filled[row][known], table.averages[row][known])


@pytest.mark.parametrize(
    ("code", "latitude", "longitude"), [("jpn", 35, 135), ("mri", -38, 176), ("tur", 39, 35), ("deu", 50, 11)]
)
def test_places_are_where_languages_are_spoken(code: str, latitude: float, longitude: float) -> None:
    place = coordinates(code)
    assert place is not None
    assert place == pytest.approx((latitude, longitude), abs=4)


def test_families_name_the_branches() -> None:
    assert family_of("deu")[:2] == ("Indo-European", "Germanic")
    assert family_of("eus") == ()
    assert family_of("xqz") == ()


def test_lang2vec_itself_is_never_imported() -> None:
    code = (
        "import sys; from clustering import distances_from; distances_from('swa');"
        "assert not {'lang2vec', 'torch', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
