"""The X-ELM authors' clusters, reproduced exactly, and no language lost where theirs lose some."""

from __future__ import annotations

import numpy as np
import pytest

from clustering.distances.x_elm import xelm_distances
from clustering.languages.codes import to_code
from clustering.plans.make import cluster_languages
from clustering.plans.methods import Evidence
from clustering.plans.pairs import group_by_pairs

XELM_LANGUAGES = ["en", "fr", "es", "de", "el", "bg", "ru", "tr", "ar", "vi", "zh", "hi", "sw", "ur", "ja", "ko"]
MAPS = {
    8: "en,es de,el ja,ko hi,ur bg,ru fr,ar tr,zh vi,sw",
    4: "en,es,bg,ru ja,ko,tr,zh de,el,fr,ar hi,ur,vi,sw",
    2: "en,es,bg,ru,de,el,fr,ar ja,ko,tr,zh,hi,ur,vi,sw",
}


@pytest.mark.parametrize("k", MAPS)
def test_the_authors_maps_come_out_exactly(k: int) -> None:
    expected = [sorted(to_code(code) for code in group.split(",")) for group in MAPS[k].split()]
    assert list(cluster_languages(XELM_LANGUAGES, k, "pairs").clusters.values()) == expected


@pytest.mark.parametrize(
    ("new", "donor", "distance"), [("az", "tr", 0.250), ("he", "ar", 0.228), ("pl", "ru", 0.238), ("sv", "en", 0.217)]
)
def test_donors_of_new_languages(new: str, donor: str, distance: float) -> None:
    found = xelm_distances([*XELM_LANGUAGES, new])
    nearest = int(np.argmin(found.values[-1, :-1]))
    assert XELM_LANGUAGES[nearest] == donor
    assert found.values[-1, nearest] == pytest.approx(distance, abs=6e-4)


def test_languages_left_unpaired_are_carried() -> None:
    plan = cluster_languages(XELM_LANGUAGES[:7], 2, "pairs")
    assert sorted(plan.languages) == sorted(to_code(code) for code in XELM_LANGUAGES[:7])
    assert len(plan.clusters) == 2


def test_an_odd_one_out_joins_a_later_round() -> None:
    points = np.array([0.0, 1.0, 10.0, 11.0, 50.0])
    values = np.abs(points[:, None] - points) / 50
    assert group_by_pairs(Evidence(values), 3).groups == [[0, 1], [2, 3], [4]]
    assert group_by_pairs(Evidence(values), 2).groups == [[0, 1, 2, 3], [4]]
    assert group_by_pairs(Evidence(values), 1).groups == [[0, 1, 2, 3, 4]]
    assert group_by_pairs(Evidence(values), 4).groups == [[0, 1], [2], [3], [4]]


def test_ties_go_to_the_language_given_first() -> None:
    values = np.ones((4, 4)) - np.eye(4)
    assert group_by_pairs(Evidence(values), 2).groups == [[0, 1], [2, 3]]


def test_columns_constant_over_the_set_do_not_count() -> None:
    alone = xelm_distances(["en", "de"]).values[0, 1]
    among_others = xelm_distances(["en", "de", "ja", "sw"]).values[0, 1]
    assert alone > among_others
