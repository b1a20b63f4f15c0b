"""Blocks without padding, and the order in which a training draws them."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import DrawOrder, apportion, draw_order, sampling_shares
from xelm.corpus.store import LanguageCounts, TokenStore

SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 10**6), min_size=1)


def _blocks(lengths: list[int], sequence_length: int) -> Blocks:
    """Documents of these lengths; every token is another number, so that each can be found again."""
    tokens = np.arange(sum(lengths), dtype=np.uint32) + 1
    starts = np.cumsum([0, *lengths[:-1]])
    return Blocks(TokenStore("deu", tokens, starts, LanguageCounts(), Path()), sequence_length)


def _all(blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    return blocks.take(np.arange(len(blocks)))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 40))
def test_every_token_appears_in_order_and_nothing_is_padded(lengths: list[int], sequence_length: int) -> None:
    blocks = _blocks(lengths, sequence_length)
    input_ids, position_ids = _all(blocks)
    num_tokens = sum(lengths)
    assert input_ids.shape == position_ids.shape == (len(blocks), sequence_length)
    assert 0 <= input_ids.size - num_tokens < sequence_length, "no block more than needed"
    # Past the last token it goes on with the first.
    np.testing.assert_array_equal(input_ids.ravel(), np.arange(input_ids.size) % num_tokens + 1)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(2, 40))
def test_positions_begin_again_with_every_document_and_every_block(lengths: list[int], sequence_length: int) -> None:
    blocks = _blocks(lengths, sequence_length)
    input_ids, position_ids = _all(blocks)
    begins = {int(start) + 1 for start in blocks.store.starts}
    for ids_T, positions_T in zip(input_ids.tolist(), position_ids.tolist(), strict=True):
        expected = 0
        for place, (token, position) in enumerate(zip(ids_T, positions_T, strict=True)):
            expected = 0 if place == 0 or token in begins else expected + 1
            assert position == expected


def test_the_last_block_is_filled_from_the_first_document() -> None:
    input_ids, position_ids = _all(_blocks([3, 4], 5))
    assert input_ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 1, 2, 3]]
    assert position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]


def test_a_corpus_shorter_than_a_block_is_repeated() -> None:
    input_ids, position_ids = _all(_blocks([2], 5))
    assert input_ids.tolist() == [[1, 2, 1, 2, 1]]
    assert position_ids.tolist() == [[0, 1, 0, 1, 0]]


def test_blocks_come_in_the_order_they_are_asked_for_and_as_often() -> None:
    blocks = _blocks([20], 4)
    input_ids, _ = blocks.take(np.array([3, 0, 3]))
    assert input_ids[:, 0].tolist() == [13, 1, 13]
    assert input_ids.dtype == np.int64


@given(SIZES, st.floats(0.1, 1e6))
def test_shares_sum_to_one_and_keep_the_order_of_sizes(sizes: dict[str, int], temperature: float) -> None:
    shares = sampling_shares(sizes, temperature)
    assert list(shares) == list(sizes)
    assert sum(shares.values()) == pytest.approx(1)
    by_size = sorted(sizes, key=lambda code: sizes[code])
    for small, large in itertools.pairwise(by_size):
        assert shares[small] <= shares[large] * (1 + 1e-9)


def test_temperature_goes_from_by_size_to_uniform() -> None:
    sizes = {"a": 1, "b": 100}
    assert sampling_shares(sizes, 1.0)["b"] == pytest.approx(100 / 101)
    assert sampling_shares(sizes, 2.0)["b"] == pytest.approx(10 / 11)
    assert sampling_shares(sizes, 1e9)["b"] == pytest.approx(0.5)


@given(st.integers(0, 10**9), st.dictionaries(st.text(max_size=3), st.floats(1e-9, 1e3), min_size=1, max_size=12))
def test_apportioned_numbers_sum_to_the_total_and_are_within_one_of_exact(total: int, shares: dict[str, float]) -> None:
    counts = apportion(total, shares)
    assert list(counts) == list(shares)
    assert sum(counts.values()) == total
    scale = sum(shares.values())
    assert all(abs(counts[name] - total * share / scale) <= 1 + 1e-6 for name, share in shares.items())


def test_equal_shares_are_apportioned_to_the_first_on_ties() -> None:
    assert apportion(5, {"a": 1.0, "b": 1.0, "c": 1.0}) == {"a": 2, "b": 2, "c": 1}


@given(SIZES, st.integers(1, 300), st.integers(0, 5))
def test_each_language_is_drawn_exactly_its_share(sizes: dict[str, int], num_draws: int, seed: int) -> None:
    num_blocks = {code: size % 50 + 1 for code, size in sizes.items()}
    shares = sampling_shares(num_blocks, 1.5)
    order = draw_order(num_blocks, shares, num_draws, seed=seed, name="base")
    drawn = Counter(order.languages[i] for i in order.language)
    expected = apportion(num_draws, {code: shares[code] for code in sorted(shares)})
    assert len(order) == len(order.block) == num_draws
    assert {code: drawn[code] for code in num_blocks} == expected


@given(SIZES, st.integers(1, 300))
def test_every_block_comes_once_before_any_comes_twice(sizes: dict[str, int], num_draws: int) -> None:
    num_blocks = {code: size % 20 + 1 for code, size in sizes.items()}
    order = draw_order(num_blocks, sampling_shares(num_blocks, 1.0), num_draws, seed=0, name="base")
    for index, code in enumerate(order.languages):
        drawn = order.block[order.language == index]
        for begin in range(0, len(drawn), num_blocks[code]):
            round_of_blocks = drawn[begin : begin + num_blocks[code]]
            assert len(set(round_of_blocks.tolist())) == len(round_of_blocks)
        assert set(drawn.tolist()) <= set(range(num_blocks[code]))


def _order(seed: int = 0, name: str = "base", codes: str = "ab") -> DrawOrder:
    return draw_order(dict.fromkeys(codes, 50), dict.fromkeys(codes, 0.5), 100, seed=seed, name=name)


def test_the_order_hangs_on_seed_and_stage_and_on_nothing_else() -> None:
    first = _order()
    for same in (_order(), _order(codes="ba")):
        assert same.languages == first.languages
        np.testing.assert_array_equal(same.language, first.language)
        np.testing.assert_array_equal(same.block, first.block)
    for other in (_order(seed=1), _order(name="dense")):
        assert not np.array_equal(other.block, first.block)


def test_a_new_round_has_a_new_order() -> None:
    block = draw_order({"a": 50}, {"a": 1.0}, 100, seed=0, name="base").block
    assert not np.array_equal(block[:50], block[50:])


def test_languages_are_mixed_throughout() -> None:
    order = draw_order({"a": 500, "b": 500}, {"a": 0.5, "b": 0.5}, 1000, seed=0, name="base")
    for part in np.split(order.language, 10):
        assert 25 <= part.sum() <= 75
