"""How languages share a training: each setting really changes what is drawn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from clustering.errors import BadInput
from xelm.corpus.draw import DrawOrder, draw_order, draw_phases, sampling_shares
from xelm.corpus.mixture import mean_shares, mixture, phase_counts, unimax_shares
from xelm.recipe.recipe import Train

SIZES = {"deu": 400, "nld": 100, "swh": 10}
DRAWS = 600


def _drawn(codes: list[str] | None = None, num_draws: int = DRAWS, **settings: Any) -> DrawOrder:
    phases = mixture(SIZES, Train(tokens=1, **settings), DRAWS, codes=codes)
    own = {code: SIZES[code] for code in (codes or SIZES)}
    return draw_phases(own, phase_counts(phases, num_draws), seed=0, name="dense")


def _counts(order: DrawOrder, begin: float = 0, end: float = 1) -> dict[str, int]:
    piece = order.language[round(begin * len(order)) : round(end * len(order))]
    return {code: int((piece == index).sum()) for index, code in enumerate(order.languages)}


def test_by_default_the_draws_are_those_of_one_temperature() -> None:
    plain = draw_order(SIZES, sampling_shares(SIZES, 1.0), DRAWS, seed=0, name="dense")
    order = _drawn()
    assert np.array_equal(order.language, plain.language)
    assert np.array_equal(order.block, plain.block)


def test_temperature_flattens_what_is_drawn() -> None:
    assert _counts(_drawn()) == {"deu": 470, "nld": 118, "swh": 12}
    flat = _counts(_drawn(sampling_temperature=1e9))
    assert flat == {"deu": 200, "nld": 200, "swh": 200}


def test_an_annealed_temperature_moves_from_one_mixture_to_the_other() -> None:
    order = _drawn(sampling_temperature=1.0, final_sampling_temperature=100.0)
    begin, end = _counts(order, 0, 0.1), _counts(order, 0.9, 1)
    assert begin["swh"] <= 3
    assert end["swh"] >= 15
    tenths = [_counts(order, i / 10, (i + 1) / 10)["swh"] for i in range(10)]
    assert all(a <= b + 1 for a, b in pairwise(tenths))
    assert len(order) == DRAWS


def test_a_language_is_not_drawn_before_it_enters() -> None:
    order = _drawn(enters={"sw": 0.75})
    assert _counts(order, 0, 0.75)["swh"] == 0
    assert _counts(order, 0.75, 1)["swh"] == 3
    phases = mixture(SIZES, Train(tokens=1, enters={"sw": 0.75}), DRAWS)
    assert mean_shares(phases)["swh"] == pytest.approx(10 / 510 / 4)


def test_languages_may_enter_in_stages_while_the_temperature_falls() -> None:
    order = _drawn(enters={"swh": 0.75, "nld": 0.5}, sampling_temperature=1.43, final_sampling_temperature=3.33)
    assert _counts(order, 0, 0.5) == {"deu": 300, "nld": 0, "swh": 0}
    middle, last = _counts(order, 0.5, 0.75), _counts(order, 0.75, 1)
    assert middle["nld"] > 0
    assert middle["swh"] == 0
    assert last["swh"] > 0


def test_unimax_is_even_up_to_its_cap() -> None:
    counts = _counts(_drawn(sampling="unimax", max_epochs=2))
    assert counts == {"deu": 380, "nld": 200, "swh": 20}, "10 blocks twice, 100 twice, the rest to the largest"
    assert _counts(_drawn(sampling="unimax", max_epochs=1)) == {"deu": 470, "nld": 118, "swh": 12}, "too little for all"
    even = _counts(_drawn(sampling="unimax", max_epochs=20))
    assert even == {"deu": 200, "nld": 200, "swh": 200}


def test_unimax_never_depends_on_the_order_of_languages() -> None:
    other = {code: SIZES[code] for code in reversed(SIZES)}
    assert unimax_shares(SIZES, 600, 2) == pytest.approx(unimax_shares(other, 600, 2))
    assert list(unimax_shares(other, 600, 2)) == list(other)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sampling_temperature": 2.0},
        {"sampling": "unimax", "max_epochs": 3.0},
        {"enters": {"nld": 0.5}},
        {"final_sampling_temperature": 5.0},
    ],
    ids=str,
)
def test_an_expert_reads_a_language_as_often_as_dense_does(settings: dict[str, Any]) -> None:
    train = Train(tokens=1, **settings)
    whole = mean_shares(mixture(SIZES, train, DRAWS))
    mine = mean_shares(mixture(SIZES, train, DRAWS, codes=["nld", "swh"]))
    assert sum(mine.values()) == pytest.approx(1.0)
    assert mine["nld"] / mine["swh"] == pytest.approx(whole["nld"] / whole["swh"])


def test_an_expert_whose_languages_all_come_late_starts_with_them() -> None:
    order = _drawn(codes=["swh"], num_draws=30, enters={"swh": 0.9})
    assert _counts(order) == {"swh": 30}


def test_every_block_comes_once_before_any_comes_twice_over_all_phases() -> None:
    order = _drawn(enters={"swh": 0.1}, sampling_temperature=1e9)
    block = order.block[order.language == order.languages.index("swh")]
    assert sorted(block[:10].tolist()) == list(range(10))


def test_who_enters_must_be_there_and_someone_must_begin() -> None:
    with pytest.raises(BadInput, match=r"enters: no text for 'fra'\. There is: deu, nld, swh"):
        mixture(SIZES, Train(tokens=1, enters={"fra": 0.5}), DRAWS)
    with pytest.raises(BadInput, match="every language comes later"):
        mixture(SIZES, Train(tokens=1, enters=dict.fromkeys(SIZES, 0.5)), DRAWS)


@pytest.mark.parametrize("other", [{"enters": {"swh": 0.5}}, {"final_sampling_temperature": 3.0}], ids=str)
def test_unimax_stands_alone(other: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="unimax"):
        Train(tokens=1, sampling="unimax", **other)
