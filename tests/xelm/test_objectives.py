"""What is masked, how often, and that nothing else depends on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from clustering.errors import BadInput
from xelm.inference.routed import RoutedLM
from xelm.making.train import train
from xelm.objectives.causal import Causal, CausalBatches
from xelm.objectives.masked import MaskedBatches
from xelm.objectives.objective import IGNORED, OBJECTIVES, Batches, objective
from xelm.objectives.tokens import TokenBatch
from xelm.recipe.recipe import Recipe

MASK, SPECIAL = 4, (0, 1, 2, 3, 4)


def _masked(**changes: object) -> MaskedBatches:
    values = {"mask_id": MASK, "vocab_size": 1000, "special_ids": SPECIAL, "rates": (0.3, 0.15, 0.05), "seed": 7}
    return MaskedBatches(**{**values, **changes})  # type: ignore[arg-type]


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
    batch = CausalBatches().batch(ids, positions, np.array([0]), 0.0)
    assert batch.labels.tolist() == [[8, 9, IGNORED, 6]]
    assert batch.num_targets == 3


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """An objective as another package would add it: the token before each token, and no answers."""
    monkeypatch.setattr(OBJECTIVES, "_found", {name: OBJECTIVES.find(name) for name in OBJECTIVES.names()})

    class BackwardsBatches(Batches):
        def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> TokenBatch:
            labels_BT = np.where(positions_BT == 0, IGNORED, np.roll(ids_BT, 1, axis=1))
            return TokenBatch(ids_BT, positions_BT, labels_BT)

    @objective
    class Backwards(Causal):
        name: ClassVar[str] = "backwards"
        generates: ClassVar[bool] = False
        follows_text: ClassVar[bool] = False

        def batches(self, tokenizer: Any, settings: Any, name: str) -> Batches:
            return BackwardsBatches()

        def log_probs(self, model: Any, texts: Any, tokenizer: Any, context: int | None) -> list[np.ndarray]:
            return [np.full(len(text), -float(len(text))) for text in texts]


def test_a_new_objective_trains_and_evaluates_a_run_that_gives_no_answers(
    backwards: None, tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    experts = train(tiny_recipe(train={"objective": "backwards", "tokens": 512}), tmp_path / "run")
    assert experts.objective.name == "backwards"
    assert experts.history("base")[-1]["loss"] < experts.history("base")[0]["loss"]
    result = experts.result("test")
    assert result is not None
    assert sorted(result.routed) == ["ensemble", "top1"]
    documents = experts.heldout("test", ["deu"])
    assert result.models["base"]["deu"].nats == sum(len(document.text) ** 2 for document in documents)
    with pytest.raises(BadInput, match="its experts are backwards models"):
        RoutedLM(experts).generate(["das"])


def test_an_unknown_objective_is_refused_with_the_near_one(tiny_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(
        BadInput, match=r"train.objective = 'casual': choose causal or denoise or masked or tlm \(causal\?\)"
    ):
        tiny_recipe(train={"objective": "casual"})
