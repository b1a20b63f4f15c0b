"""What is masked, how often, and that nothing else depends on it."""

from __future__ import annotations

import numpy as np
import pytest

from xelm.training.objectives import IGNORED, Causal, Masked

MASK, SPECIAL = 4, (0, 1, 2, 3, 4)


def _masked(**changes: object) -> Masked:
    values = {"mask_id": MASK, "vocab_size": 1000, "special_ids": SPECIAL, "rates": (0.3, 0.15, 0.05), "seed": 7}
    return Masked(**{**values, **changes})  # type: ignore[arg-type]


def _blocks(number: int, length: int = 400) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(5, 1000, (number, length))
    ids[:, 0], ids[:, -1] = 1, 2
    return ids, np.tile(np.arange(length), (number, 1))


@pytest.mark.parametrize(
    ("done", "rate"), [(0.0, 0.3), (0.33, 0.3), (0.34, 0.15), (0.66, 0.15), (0.67, 0.05), (0.999, 0.05)]
)
def test_the_share_masked_falls_by_thirds(done: float, rate: float) -> None:
    ids, positions = _blocks(40)
    batch = _masked().batch(ids, positions, np.arange(40), done)
    assert batch.num_targets / ids.size == pytest.approx(rate, rel=0.1)


def test_four_fifths_become_the_mask_a_tenth_another_token_a_tenth_stays() -> None:
    ids, positions = _blocks(80)
    batch = _masked().batch(ids, positions, np.arange(80), 0.0)
    chosen = batch.labels != IGNORED
    assert np.array_equal(batch.labels[chosen], ids[chosen])
    assert np.array_equal(batch.input_ids[~chosen], ids[~chosen])
    seen, true = batch.input_ids[chosen], ids[chosen]
    assert (seen == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (seen == true).mean() == pytest.approx(0.1, abs=0.02)
    assert not np.isin(seen[seen != MASK], SPECIAL).any()


def test_special_tokens_are_never_masked() -> None:
    ids, positions = _blocks(20)
    batch = _masked(rates=(0.99,)).batch(ids, positions, np.arange(20), 0.0)
    assert (batch.labels[:, [0, -1]] == IGNORED).all()


def test_masks_hang_on_the_draw_alone_so_that_a_resumed_training_has_the_same() -> None:
    ids, positions = _blocks(6)
    whole = _masked().batch(ids, positions, np.arange(6), 0.0)
    part = _masked().batch(ids[4:], positions[4:], np.array([4, 5]), 0.0)
    assert np.array_equal(whole.labels[4:], part.labels)
    assert np.array_equal(whole.input_ids[4:], part.input_ids)
    again = _masked().batch(ids[:1], positions[:1], np.array([6]), 0.0)
    assert not np.array_equal(again.labels, whole.labels[:1]), "a block read again is masked anew"
    assert not np.array_equal(_masked(seed=8).batch(ids, positions, np.arange(6), 0.0).labels, whole.labels)


def test_a_causal_label_is_the_next_token_of_the_same_document() -> None:
    ids, positions = np.array([[7, 8, 9, 7, 6]]), np.array([[0, 1, 2, 0, 1]])
    batch = Causal().batch(ids, positions, np.array([0]), 0.0)
    assert batch.labels.tolist() == [[8, 9, IGNORED, 6]]
    assert batch.num_targets == 3
