"""A training that was interrupted and goes on equals, to the bit, one that was not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clustering.errors import BadInput
from tests.xelm.training_parts import same_bits, stage_of, tiny_llama, weights_of
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.train import train
from xelm.recipe.recipe import Train
from xelm.training.course.eight_bits import of_eight_bits
from xelm.training.loop import train_stage
from xelm.training.random_state import random_states, set_random_state

KINDS = {
    "full": ExpertKind.of(),
    "dropout": ExpertKind.of(),
    "lora": ExpertKind.of(kind="lora", rank=2),
    "last_n_layers": ExpertKind.of(kind="last_n_layers", num_last_layers=1),
}


class Interrupted(Exception):
    """Stands for Ctrl-C, a kill or a power cut."""


def _model(kind: str) -> Any:
    model = tiny_llama(num_layers=2, attention_dropout=0.3 if kind == "dropout" else 0.0)
    torch.manual_seed(1)
    return KINDS[kind].prepare(model)


def _stop_after(step: int) -> Any:
    def log(point: dict[str, Any]) -> None:
        if point["step"] == step:
            raise Interrupted

    return log


def _interrupt(model: Any, stage: Any, step: int) -> None:
    with pytest.raises(Interrupted):
        train_stage(model, stage, _stop_after(step))


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_equals_the_undisturbed_one_to_the_bit(tmp_path: Path, kind: str) -> None:
    undisturbed = _model(kind)
    expected = train_stage(undisturbed, stage_of(tmp_path / "a"), lambda _: None)

    stage = stage_of(tmp_path / "b")
    for step in (3, 7, 11):  # before any checkpoint, after the first, after the second
        _interrupt(_model(kind), stage, step)
    torch.manual_seed(12345)
    resumed, steps = _model(kind), []
    trained = train_stage(resumed, stage, lambda point: steps.append(point["step"]))
    assert steps == [11, 12], "it goes on from the checkpoint of step 10"
    assert trained.history == expected.history
    assert same_bits(weights_of(resumed), weights_of(undisturbed))


def test_a_checkpoint_of_before_random_states_were_kept_for_each_process_still_resumes(tmp_path: Path) -> None:
    undisturbed = _model("dropout")
    train_stage(undisturbed, stage_of(tmp_path / "a"), lambda _: None)
    stage = stage_of(tmp_path / "b")
    _interrupt(_model("dropout"), stage, 6)
    file = stage.checkpoints / "step-00000005" / "state.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    [random] = state.pop("random")
    file.write_text(json.dumps(state | {"torch_rng": random["cpu"]}), encoding="utf-8")
    resumed = _model("dropout")
    train_stage(resumed, stage, lambda _: None)
    assert same_bits(weights_of(resumed), weights_of(undisturbed))


def test_each_process_goes_on_from_its_own_random_numbers() -> None:
    cpu = torch.device("cpu")
    torch.manual_seed(1)
    [first] = random_states(cpu)
    torch.manual_seed(2)
    [second] = random_states(cpu)
    expected = torch.rand(3)
    set_random_state([first, second], 1, cpu)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    set_random_state([first, second], 2, cpu)
    assert torch.equal(torch.rand(3), expected), "a process that was not there before keeps its seed"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_dropout_on_a_gpu_goes_on_where_it_was() -> None:
    gpu = torch.device("cuda", torch.cuda.current_device())
    torch.rand(5, device=gpu)
    states = random_states(gpu)
    expected = torch.rand(5, device=gpu)
    set_random_state(states, 0, gpu)
    assert torch.equal(torch.rand(5, device=gpu), expected)


def test_points_of_the_curve_between_checkpoints_are_the_same_after_resuming(tmp_path: Path) -> None:
    """With 250 steps a point sums up two of them; the checkpoint falls between."""
    settings = {"num_steps": 250, "batch_size": 1, "checkpoint_every_steps": 33}
    expected = train_stage(tiny_llama(), stage_of(tmp_path / "a", **settings), lambda _: None)
    _interrupt(tiny_llama(), stage_of(tmp_path / "b", **settings), 66)
    assert train_stage(tiny_llama(), stage_of(tmp_path / "b", **settings), lambda _: None).history == expected.history


def test_only_the_newest_checkpoint_is_kept_and_it_holds_no_pickle(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    _interrupt(tiny_llama(), stage, 11)
    assert [p.name for p in stage.checkpoints.iterdir()] == ["step-00000010"]
    assert {p.suffix for p in stage.checkpoints.rglob("*.*") if p.is_file()} == {".safetensors", ".json"}


@pytest.mark.parametrize("fails_at", ["write", "rename", "remove"])
def test_a_kill_while_a_checkpoint_is_written_leaves_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    undisturbed = tiny_llama()
    train_stage(undisturbed, stage_of(tmp_path / "a"), lambda _: None)
    stage = stage_of(tmp_path / "b")
    _interrupt(tiny_llama(), stage, 6)

    def fail(*_args: Any, **_options: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as broken:
        if fails_at == "write":
            broken.setattr("safetensors.torch.save_file", fail)
        elif fails_at == "rename":
            broken.setattr(os, "replace", fail)
        else:
            broken.setattr("xelm.training.checkpoint.shutil.rmtree", fail)
        with pytest.raises(Interrupted):
            train_stage(tiny_llama(), stage, lambda _: None)
    resumed = tiny_llama()
    train_stage(resumed, stage, lambda _: None)
    assert same_bits(weights_of(resumed), weights_of(undisturbed))


def _damage_cut_weights(folder: Path) -> None:
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


def _damage_missing_moments(folder: Path) -> None:
    (folder / "optimizer.safetensors").unlink()


def _damage_state_no_json(folder: Path) -> None:
    (folder / "state.json").write_text("{", encoding="utf-8")


def _damage_state_no_utf8(folder: Path) -> None:
    (folder / "state.json").write_bytes(b"\xff")


def _damage_state_is_list(folder: Path) -> None:
    (folder / "state.json").write_text("[]", encoding="utf-8")


def _damage_random_state(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    (folder / "state.json").write_text(json.dumps(state | {"torch_rng": "no hex"}), encoding="utf-8")


def _damage_state_without_step(folder: Path) -> None:
    (folder / "state.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        _damage_cut_weights,
        _damage_missing_moments,
        _damage_state_no_json,
        _damage_state_no_utf8,
        _damage_state_is_list,
        _damage_random_state,
        _damage_state_without_step,
    ],
)
def test_a_damaged_checkpoint_is_named_with_the_way_out(tmp_path: Path, damage: Any) -> None:
    stage = stage_of(tmp_path)
    _interrupt(tiny_llama(), stage, 6)
    damage(stage.checkpoints / "step-00000005")
    with pytest.raises(BadInput, match=r"step-00000005.* cannot be resumed .*Remove .*checkpoints to begin") as caught:
        train_stage(tiny_llama(), stage, lambda _: None)
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    _interrupt(tiny_llama(), stage, 6)
    with pytest.raises(BadInput, match="cannot be resumed"):
        train_stage(tiny_llama(num_layers=2), stage, lambda _: None)


def test_muon_moves_inner_matrices_in_orthogonal_directions_and_resumes_to_the_bit(tmp_path: Path) -> None:
    settings = {"optimizer": "muon", "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant"}
    model, before = tiny_llama(), weights_of(tiny_llama())
    train_stage(model, stage_of(tmp_path / "one", num_steps=1, learning_rate=1e-2, **settings), lambda _: None)
    name = "model.layers.0.mlp.gate_proj.weight"
    sizes = torch.linalg.svdvals(weights_of(model)[name] - before[name])
    # All directions alike: 0.2 * sqrt(largest side) times the rate, as far as five iterations come.
    assert sizes.max() / sizes.min() < 3
    assert float(sizes.mean()) == pytest.approx(1e-2 * 0.2 * 32**0.5, rel=0.25)
    plain = tiny_llama()
    settings["optimizer"] = "adamw"
    train_stage(plain, stage_of(tmp_path / "two", num_steps=1, learning_rate=1e-2, **settings), lambda _: None)
    for end in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"):
        assert torch.equal(weights_of(model)[end], weights_of(plain)[end]), "AdamW has the rest"

    undisturbed, resumed = tiny_llama(), tiny_llama()
    train_stage(undisturbed, stage_of(tmp_path / "a", optimizer="muon"), lambda _: None)
    stage = stage_of(tmp_path / "b", optimizer="muon")
    _interrupt(tiny_llama(), stage, 7)
    train_stage(resumed, stage, lambda _: None)
    assert same_bits(weights_of(resumed), weights_of(undisturbed))


def test_moments_of_eight_bits_are_kept_as_such_and_resume_to_the_bit(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", minversion="0.50")

    def large() -> Any:
        return tiny_llama(num_layers=1, intermediate_size=300)  # 4,800 values a matrix: from 4,096 on in 8 bits

    settings = {"optimizer": "adamw8bit", "num_steps": 12}
    undisturbed, resumed = large(), large()
    trained = train_stage(undisturbed, stage_of(tmp_path / "a", **settings), lambda _: None)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    stage = stage_of(tmp_path / "b", **settings)
    _interrupt(large(), stage, 7)
    moments = load_file(stage.checkpoints / "step-00000005" / "optimizer.safetensors")
    name = "model.layers.0.mlp.gate_proj.weight"
    assert moments[f"{name}/state1"].dtype == moments[f"{name}/state2"].dtype == torch.uint8
    assert moments["model.norm.weight/state1"].dtype == torch.float32 and int(moments[f"{name}/step"]) == 5
    train_stage(resumed, stage, lambda _: None)
    assert same_bits(weights_of(resumed), weights_of(undisturbed))
    plain = large()
    train_stage(plain, stage_of(tmp_path / "c", num_steps=12), lambda _: None)
    far = max(float((weights_of(plain)[key] - value).abs().max()) for key, value in weights_of(resumed).items())
    assert 0 < far < 0.02, "near AdamW, of which a step is at most 0.005"


def test_an_optimizer_that_is_not_installed_is_refused_before_text_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_recipe: Any
) -> None:
    monkeypatch.setattr("xelm.training.course.eight_bits.find_spec", lambda _name: None)
    with pytest.raises(
        BadInput, match=r'\[train\] optimizer = "adamw8bit" needs a package .* pip install .bitsandbytes'
    ):
        train(tiny_recipe(train={"optimizer": "adamw8bit"}), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("tokens.bin"))
    with pytest.raises(BadInput, match=r"does not run on this device \(meta\)"):
        monkeypatch.setattr("xelm.training.course.eight_bits.find_spec", lambda _name: True)
        of_eight_bits([{"params": [torch.empty(2, device="meta")]}], 1e-3, (0.9, 0.95))


def test_betas_change_what_is_learned(tmp_path: Path) -> None:
    models = [tiny_llama(), tiny_llama(), tiny_llama()]
    for number, (model, settings) in enumerate(
        zip(models, [{}, {"betas": (0.9, 0.95)}, {"betas": (0.5, 0.95)}], strict=True)
    ):
        train_stage(model, stage_of(tmp_path / str(number), **settings), lambda _: None)
    plain, same, other = map(weights_of, models)
    assert same_bits(plain, same) and not same_bits(plain, other)


@pytest.mark.parametrize("betas", [(0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, 0.95, 0.99)])
def test_betas_that_are_none_are_refused(betas: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match=r"\[train\] betas=.* must be two numbers in \[0, 1\)"):
        Train(tokens=1, betas=betas)


def test_of_several_checkpoints_the_last_good_one_is_gone_on_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"checkpoint_every_steps": 2, "keep_checkpoints": 3}
    undisturbed = tiny_llama()
    train_stage(undisturbed, stage_of(tmp_path / "a", **settings), lambda _: None)
    stage = stage_of(tmp_path / "b", **settings)
    _interrupt(tiny_llama(), stage, 11)
    folders = sorted(stage.checkpoints.iterdir())
    assert [folder.name for folder in folders] == ["step-00000006", "step-00000008", "step-00000010"]
    _damage_cut_weights(folders[-1])
    (folders[-2] / "state.json").write_text("{", encoding="utf-8")
    resumed, steps = tiny_llama(), []
    train_stage(resumed, stage, lambda point: steps.append(point["step"]))
    assert steps[0] == 7
    assert "step-00000010: this checkpoint cannot be resumed" in caplog.text
    assert same_bits(weights_of(resumed), weights_of(undisturbed))
