"""A finished run whose budget is raised goes on, and is what it would have been if it had been that long at once."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustering.errors import BadInput
from tests.xelm.training_parts import same_bits, stage_of, tiny_llama, weights_of
from xelm.corpus.draw import open_order
from xelm.making.train import train
from xelm.objectives.masked import MaskedBatches
from xelm.recipe.recipe import Recipe
from xelm.training.course.schedule import Schedule
from xelm.training.course.stable import begun
from xelm.training.loop import train_stage

MakeRecipe = Callable[..., Recipe]
BLOCKS, SHARES = {"deu": 7, "nld": 100, "rus": 30}, {"deu": 0.1, "nld": 0.65, "rus": 0.25}


def test_a_longer_order_begins_with_every_shorter_one() -> None:
    longest = open_order(BLOCKS, SHARES, 1000, seed=3, name="a")
    for number in (1, 63, 64, 65, 500):
        order = open_order(BLOCKS, SHARES, number, seed=3, name="a")
        assert len(order) == number
        assert np.array_equal(order.language, longest.language[:number])
        assert np.array_equal(order.block, longest.block[:number])


def test_an_open_order_keeps_shares_and_reads_every_block_once_before_any_twice() -> None:
    order = open_order(BLOCKS, SHARES, 1000, seed=0, name="a")
    counts = order.counts()
    assert all(counts[code] == pytest.approx(1000 * SHARES[code], abs=8) for code in SHARES)
    for index, code in enumerate(order.languages):
        blocks = order.block[order.language == index]
        for begin in range(0, len(blocks) - BLOCKS[code], BLOCKS[code]):
            assert sorted(blocks[begin : begin + BLOCKS[code]]) == list(range(BLOCKS[code]))
    other = open_order(BLOCKS, SHARES, 1000, seed=1, name="a")
    assert not np.array_equal(order.language, other.language) and not np.array_equal(order.block, other.block)


@pytest.mark.parametrize(("num_steps", "warmup_steps", "stable"), [(100, 10, 82), (12, 1, 9), (4, 1, 3), (2, 1, 1)])
def test_the_stable_phase_ends_where_the_rate_begins_to_fall(num_steps: int, warmup_steps: int, stable: int) -> None:
    schedule = Schedule(
        kind="wsd", peak=1.0, num_steps=num_steps, warmup_fraction=0.5, min_ratio=0.1, warmup_steps=warmup_steps
    )
    rates = [schedule.rate(step) for step in range(num_steps)]
    assert schedule.stable_steps == stable
    assert all(rate == rates[warmup_steps - 1] for rate in rates[warmup_steps:stable])
    assert all(rate < rates[warmup_steps - 1] for rate in rates[stable:])
    assert replace(schedule, kind="cosine").stable_steps == 0


def _recipe(tiny_recipe: MakeRecipe, tokens: int, **settings: Any) -> Recipe:
    return tiny_recipe(train={"schedule": "wsd", "warmup_steps": 1, "tokens": tokens, **settings})


def _weights(run: Path) -> dict[str, bytes]:
    return {str(file.relative_to(run)): file.read_bytes() for file in sorted(run.rglob("model.safetensors"))}


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A finished run that no test changes."""
    from tests.xelm.conftest import tiny_table

    settings = {"schedule": "wsd", "warmup_steps": 1, "tokens": 1536}
    recipe = Recipe.from_dict(tiny_table(data={"path": str(corpus)}, train=settings))
    return train(recipe, tmp_path_factory.mktemp("runs") / "short", report=False).path


def test_a_run_made_longer_in_two_pieces_equals_one_made_at_once(
    short: Path, tiny_recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(short, tmp_path / "run"))
    before = _weights(run)
    train(_recipe(tiny_recipe, 3072), run, report=False)
    train(_recipe(tiny_recipe, 5120), run, report=False)
    at_once = train(_recipe(tiny_recipe, 5120), tmp_path / "at_once", report=False)
    assert _weights(run) == _weights(at_once.path)
    after = _weights(run)
    assert [name for name in after if after[name] == before[name]] == ["base/model.safetensors"]
    steps = [json.loads(line)["step"] for line in (run / "logs" / "dense.jsonl").read_text().splitlines()]
    assert steps == [*range(1, 13), *range(10, 25), *range(20, 41)], "each goes on where the rate had not fallen"
    assert json.loads((run / "dense" / "training.json").read_text())["went_on"] == {"step": 19, "warmup_steps": 1}


def test_another_change_beside_the_length_is_refused_as_ever(
    short: Path, tiny_recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(short, tmp_path / "run"))
    with pytest.raises(BadInput, match=r"learning_rate was 0\.002 and is 0\.004"):
        train(_recipe(tiny_recipe, 3072, learning_rate=4e-3), run, report=False)
    with pytest.raises(BadInput, match="tokens was 1536 and is 768"):
        train(_recipe(tiny_recipe, 768), run, report=False)
    shutil.rmtree(run / "cache")
    with pytest.raises(BadInput, match="tokens was 1536 and is 3072"):
        train(_recipe(tiny_recipe, 3072), run, report=False)


def _stage(folder: Path, num_steps: int, **settings: Any) -> Any:
    stage = stage_of(folder, num_steps=num_steps, schedule="wsd", **settings)
    order = open_order({"deu": len(stage.blocks["deu"])}, {"deu": 1.0}, len(stage.order), seed=0, name="test")
    return replace(stage, order=order, checkpoints=folder / f"test-{num_steps:012}", stable=folder / "stable")


def test_a_longer_training_that_is_interrupted_goes_on_too(tmp_path: Path) -> None:
    train_stage(tiny_llama(attention_dropout=0.2), _stage(tmp_path, 20, warmup_steps=2), lambda point: None)

    def stop(point: dict[str, Any]) -> None:
        if point["step"] == 27:
            raise KeyboardInterrupt

    longer, model = _stage(tmp_path, 40, warmup_steps=2), tiny_llama(attention_dropout=0.2)
    with pytest.raises(KeyboardInterrupt):
        train_stage(tiny_llama(attention_dropout=0.2), longer, stop)
    trained = train_stage(model, longer, lambda point: None)
    assert trained.went_on == {"step": 16, "warmup_steps": 2}
    at_once = tiny_llama(attention_dropout=0.2)
    train_stage(at_once, _stage(tmp_path / "other", 40, warmup_steps=2), lambda point: None)
    assert same_bits(weights_of(model), weights_of(at_once))


@pytest.mark.parametrize("stop_at", [18, 37])
def test_a_training_that_is_interrupted_while_its_rate_falls_says_of_itself_what_an_undisturbed_one_does(
    tmp_path: Path, stop_at: int
) -> None:
    def stop(point: dict[str, Any]) -> None:
        if point["step"] == stop_at:
            raise KeyboardInterrupt

    num_steps = 20 if stop_at < 20 else 40
    if num_steps == 40:
        train_stage(tiny_llama(), _stage(tmp_path, 20, warmup_steps=2), lambda point: None)
    stage = _stage(tmp_path, num_steps, warmup_steps=2)
    with pytest.raises(KeyboardInterrupt):
        train_stage(tiny_llama(), stage, stop)
    trained = train_stage(tiny_llama(), stage, lambda point: None)
    assert trained.went_on == (None if num_steps == 20 else {"step": 16, "warmup_steps": 2})
    assert len(trained.history) == num_steps


def test_a_warm_up_that_hangs_on_the_length_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    train_stage(tiny_llama(), _stage(tmp_path, 20, warmup_fraction=0.2), lambda point: None)
    train_stage(tiny_llama(), _stage(tmp_path, 40, warmup_fraction=0.2), lambda point: None)
    assert "test: goes on from step 16" in caplog.text
    assert "rose over 4 steps, and would over 8 in a training made at once" in caplog.text


def test_a_training_of_other_blocks_does_not_go_on_there(tmp_path: Path) -> None:
    train_stage(tiny_llama(), _stage(tmp_path, 20), lambda point: None)
    assert begun(_stage(tmp_path, 40)) is not None
    assert begun(_stage(tmp_path, 10)) is None, "its rate falls before"
    other = _stage(tmp_path, 40)
    assert begun(replace(other, order=replace(other.order, block=other.order.block[::-1]))) is None


def test_masks_that_hang_on_the_length_do_not_go_on() -> None:
    masks = {"mask_id": 4, "vocab_size": 48, "special_ids": (0,), "seed": 0}
    assert MaskedBatches(rates=(0.3,), **masks).steady  # type: ignore[arg-type]
    assert not MaskedBatches(rates=(0.3, 0.15), **masks).steady  # type: ignore[arg-type]
