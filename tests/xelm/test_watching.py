"""Looking at a training before and while it goes on: probe, held-out losses, TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clustering.errors import BadInput
from clustering.sources.profiles import profile_texts
from tests.xelm.training_parts import blocks_of, random_documents, same_bits, stage_of, tiny_llama, weights_of
from xelm.adding.tokenizer_fit import badly_served
from xelm.making.train import dry_run, train
from xelm.recipe.recipe import Recipe
from xelm.training.loop import Stage, train_stage

MakeRecipe = Callable[..., Recipe]


def _watched(folder: Path, **settings: Any) -> Stage:
    plain = stage_of(folder, **settings)
    valid = {"deu": blocks_of(random_documents(8, seed=5), 16)}
    values = {name: getattr(plain, name) for name in ("name", "order", "blocks", "learning_rate", "settings")}
    return Stage(**values, checkpoints=plain.checkpoints, valid=valid, log_folder=folder / "logs")


def test_held_out_losses_are_taken_on_the_way_and_change_nothing(tmp_path: Path) -> None:
    points: list[dict[str, Any]] = []
    watched, plain = tiny_llama(attention_dropout=0.2), tiny_llama(attention_dropout=0.2)
    trained = train_stage(watched, _watched(tmp_path / "a", evaluate_every_steps=5), points.append)
    train_stage(plain, stage_of(tmp_path / "b"), lambda point: None)
    assert same_bits(weights_of(watched), weights_of(plain))
    assert [point["step"] for point in trained.evaluations] == [5, 10, 12]
    losses = [point["valid_loss"]["deu"] for point in trained.evaluations]
    assert losses[-1] < losses[0]
    assert next(p for p in points if "valid_loss" in p)["valid_loss"] == {"deu": losses[0]}


def test_held_out_losses_survive_an_interruption(tmp_path: Path) -> None:
    def stop(point: dict[str, Any]) -> None:
        if point["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(tiny_llama(), _watched(tmp_path / "a", evaluate_every_steps=5), stop)
    resumed = train_stage(tiny_llama(), _watched(tmp_path / "a", evaluate_every_steps=5), lambda point: None)
    whole = train_stage(tiny_llama(), _watched(tmp_path / "b", evaluate_every_steps=5), lambda point: None)
    assert resumed.evaluations == whole.evaluations


def test_tensorboard_gets_the_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stage = _watched(tmp_path, log="tensorboard", evaluate_every_steps=6)
    trained = train_stage(tiny_llama(), stage, lambda point: None)
    events = EventAccumulator(str(tmp_path / "logs" / "test"))
    events.Reload()
    losses = [event.value for event in events.Scalars("loss")]
    assert losses == pytest.approx([point["loss"] for point in trained.history])
    assert [event.step for event in events.Scalars("valid_loss/deu")] == [6, 12]


def test_a_logger_that_is_not_installed_is_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accelerate.tracking

    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", list)
    with pytest.raises(
        BadInput, match=r'log = "wandb" needs a package that is not here\. Install it: pip install wandb'
    ):
        train_stage(tiny_llama(), _watched(tmp_path, log="wandb"), lambda point: None)


def test_curves_of_a_run_hold_the_held_out_losses(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    experts = train(tiny_recipe(train={"evaluate_every_steps": 3}), tmp_path / "run", report=False)
    curve = json.loads((experts.folder("base") / "training.json").read_text())
    assert [point["step"] for point in curve["evaluations"]] == [3, 6, 9, 10]
    assert sorted(curve["evaluations"][0]["valid_loss"]) == ["deu", "nld", "rus"]


def test_a_dry_run_measures_and_says_the_hours(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    _, budget = dry_run(tiny_recipe(expert={"kind": "lora", "rank": 2}), tmp_path / "run", probe=True)
    speed = budget.speed
    assert speed is not None
    assert set(speed.tokens_per_s) == {"full", "lora"}
    assert set(speed.hours) == {stage.name for stage in budget.stages()}
    expert = next(iter(budget.experts.values()))
    assert speed.hours[expert.name] * 3600 == pytest.approx(expert.tokens / speed.tokens_per_s["lora"])
    assert "tokens/s" in budget.to_text()
    json.dumps(budget.to_dict())
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [".lock", "cache"]


def test_a_language_that_the_tokenizer_cuts_to_pieces_is_named() -> None:
    from clustering.sources.profiles import Tokenizer

    whole = {"das", "haus", "ist", "het", "huis", "is"}

    def tokenize(texts: list[str]) -> list[list[str]]:
        words = [text.split() for text in texts]
        return [[t for w in ws for t in ([w] if w in whole else [f"<0x{b:02X}>" for b in w.encode()])] for ws in words]

    texts = {"deu": "das haus ist " * 20, "nld": "het huis is " * 20, "rus": "дом дом дом " * 20}
    tokenizer = Tokenizer("test", tokenize)
    warnings = badly_served({code: profile_texts([text], tokenizer) for code, text in texts.items()})
    assert len(warnings) == 1
    assert "Russian (rus) badly: 6.0 tokens a word" in warnings[0]
    assert "100% of its tokens are pieces of a character" in warnings[0]
