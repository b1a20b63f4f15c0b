"""Training on pairs: the loss against plain loops, a model, one expert of a run, interruptions, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import xelm
from clustering.files import sha256_of
from tests.router.tiny import save_byte_model
from tests.xelm.adding import copy_of, models_of, new_text, train_tiny
from tests.xelm.conftest import write_jsonl
from tests.xelm.transfers import sentence, topic_of, word_in
from xelm import BadInput, ExpertSet

QUICK: dict[str, Any] = {"device": "cpu", "max_length": 90}


def write_pairs(folder: Path, codes: tuple[str, ...], number: int) -> Path:
    for code in codes:
        words = [sentence(n, topic_of(n)) for n in range(number)]
        rows = [{"text": " ".join(word_in(word, code) for word in own), "eng": " ".join(own)} for own in words]
        write_jsonl(folder / f"{code}.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_byte_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), ("nld", "spa"), 120)


@pytest.fixture(scope="module", params=["full", "lora"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    expert = {"kind": request.param} | ({"rank": 2} if request.param == "lora" else {})
    return train_tiny(tmp_path_factory.mktemp(request.param), expert=expert)


def test_the_loss_is_that_of_plain_loops(model: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from xelm.aligning.pairs import Pair
    from xelm.aligning.teaching import PairBatches, Teaching
    from xelm.transferring.recipe import TaskBase

    net, tokenizer = AutoModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    pairs = [Pair("een huis", "a house"), Pair("een boom", "a tree"), Pair("het huis", "a house")]
    targets = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)
    teaching = Teaching(contrast=0.5, temperature=0.1, margin=0.2)
    settings = TaskBase(model=str(model), prefix="q: ")
    batches = PairBatches(pairs, {"a house": 0, "a tree": 1}, targets, tokenizer, settings, teaching)
    batch = batches.batch(np.array([[0], [1], [2]]), np.zeros((3, 1)), np.arange(3), 0.0)
    with torch.no_grad():
        found = float(batch.summed_loss(net, isolated=True, device=torch.device("cpu")))

    def vector(text: str) -> np.ndarray:
        with torch.no_grad():
            return net(**tokenizer("q: " + text, return_tensors="pt")).last_hidden_state[0].mean(0).double().numpy()

    ours, theirs = [vector(p.text) for p in pairs], [vector(p.pivot) for p in pairs]
    own = [targets[n].astype(np.float64) for n in (0, 1, 0)]
    spread = np.mean([np.sum((t - targets.mean(0)) ** 2) for t in targets])
    wanted = sum(np.sum((s - t) ** 2) + np.sum((p - t) ** 2) for s, p, t in zip(ours, theirs, own, strict=True))
    wanted /= 2 * spread

    def score(i: int, j: int) -> float:
        cosine = ours[i] @ own[j] / np.linalg.norm(ours[i]) / np.linalg.norm(own[j])
        return (cosine - (0.2 if i == j else 0.0)) / 0.1

    against = {0: (0, 1), 1: (0, 1, 2), 2: (1, 2)}  # the first and the third pair have one pivot sentence
    for i, others in against.items():
        there = np.log(sum(np.exp(score(i, j)) for j in others)) - score(i, i)
        back = np.log(sum(np.exp(score(j, i)) for j in others)) - score(i, i)
        wanted += 0.5 * (there + back) / 2
    assert batch.num_targets == 3 and found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_model_learns_to_find_translations_that_it_was_not_taught(
    model: Path, pairs: Path, tmp_path: Path, adapter: Any
) -> None:
    from transformers import AutoModelForCausalLM

    options = {**QUICK, "adapter": adapter, "epochs": 8, "learning_rate": 5e-3, "heldout": 0.25, "step_pairs": 24}
    before = {file.name: sha256_of(file) for file in model.iterdir()}
    found = xelm.align(model, pairs, train=True, out=tmp_path / "out", **options)
    assert [row["model"] for row in found.table] == ["before"] * 3 + ["after"] * 3
    old, new = found.table[2], found.table[5]
    assert new["raw_to"] > old["raw_to"] + 0.15
    assert found.training["steps"] == 8 * sum(found.training["pairs"].values()) // 24
    assert {file.name: sha256_of(file) for file in model.iterdir()} == before
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")  # no adapters are left
    assert not any("lora" in name for name, _ in written.named_parameters())
    assert not (tmp_path / "out.work").exists()
    again = xelm.align(tmp_path / "out", pairs, heldout=0.25, **QUICK)
    assert again.table[2]["raw_to"] == new["raw_to"]
    stamp = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert xelm.align(model, pairs, train=True, out=tmp_path / "out", **options).to_json() == found.to_json()
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == stamp  # it was there, and is not made again


class _Killed(BaseException):
    """Stands for a signal."""


def _kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Stop the training after the checkpoint of a step."""
    from xelm.training.checkpoint import save_checkpoint as whole

    def save(folder: Path, state: Any) -> None:
        whole(folder, state)
        if state.progress["step"] >= step:
            raise _Killed

    patch.setattr("xelm.training.saving.writer.save_checkpoint", save)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_an_interrupted_training_ends_as_the_undisturbed_one(
    model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: Any
) -> None:
    monkeypatch.setattr("xelm.aligning.teaching._CHECKPOINT_EVERY", 3)
    options = {**QUICK, "adapter": adapter, "epochs": 2, "languages": ["nld"], "train": True}
    xelm.align(model, pairs, out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(_Killed):
        _kill_at(patch, 3)
        xelm.align(model, pairs, out=tmp_path / "cut", **options)
    assert not (tmp_path / "cut").exists() and (tmp_path / "cut.work").is_dir()
    xelm.align(model, pairs, out=tmp_path / "cut", **options)
    assert sha256_of(tmp_path / "cut" / "model.safetensors") == sha256_of(tmp_path / "whole" / "model.safetensors")
    two = [json.loads((tmp_path / name / "alignment.json").read_text())["rows"] for name in ("cut", "whole")]
    assert two[0] == two[1]


def test_one_expert_of_a_run_changes_and_all_else_stays_to_the_byte(
    finished: Path, pairs: Path, tmp_path: Path
) -> None:
    run = copy_of(finished, tmp_path)
    experts = ExpertSet.load(run)
    name = experts.plan.cluster_of("nld")
    others = [model for model in experts.models if model != name]
    before, own = models_of(run, others), models_of(run, [name])
    found = xelm.align(run, pairs, train=True, epochs=1, languages=["nld"], **{**QUICK, "max_length": 32})
    assert found.training["expert"] == name and [row["model"] for row in found.table] == ["before", "after"]
    assert models_of(run, others) == before and models_of(run, [name]) != own
    after = ExpertSet.load(run)
    assert after.verify() == [] and not (run / "work").exists()
    entry = after.entry_or_none(name)
    assert entry is not None and entry.aligned is not None and entry.tokens == experts.manifest.experts[name].tokens
    assert after.history(name) == experts.history(name)
    bits = found.training["bits_per_byte"]
    assert bits["after"]["nld"] == after.result("test").bits(name)["nld"] != bits["before"]["nld"]  # type: ignore[union-attr]
    texts = [file.read_text() for file in after.folder(name).glob("*.json")]
    assert not any(str(tmp_path) in text for text in texts)
    weights = models_of(run, [name])
    again = xelm.align(run, pairs, train=True, epochs=1, languages=["nld"], **{**QUICK, "max_length": 32})
    assert again.to_json() == found.to_json() and models_of(run, [name]) == weights
    assert "trained on pairs" in CliRunner().invoke(_group(), ["info", str(run)], catch_exceptions=False).output


def _group() -> Any:
    from xelm.cli import group

    return group


def test_an_interrupted_training_of_an_expert_leaves_the_run_and_goes_on(
    finished: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xelm.aligning.teaching._CHECKPOINT_EVERY", 2)
    options = {**QUICK, "max_length": 32, "languages": ["nld"], "epochs": 2, "train": True}
    whole, cut = copy_of(finished, tmp_path / "a"), copy_of(finished, tmp_path / "b")
    xelm.align(whole, pairs, **options)
    for place in (
        "xelm.training.saving.writer.save_checkpoint",
        "xelm.aligning.adapt_run.seal",
        "xelm.run.transaction._put",
    ):
        state = models_of(cut, ExpertSet.load(cut).models)
        with monkeypatch.context() as patch, pytest.raises(_Killed):
            if place.endswith("checkpoint"):
                _kill_at(patch, 2)
            else:
                patch.setattr(place, _die)
            xelm.align(cut, pairs, **options)
        if not place.endswith("_put"):  # from the switch on the change is decided
            assert models_of(cut, ExpertSet.load(cut).models) == state and ExpertSet.load(cut).verify() == []
    xelm.align(cut, pairs, **options)
    names = ExpertSet.load(cut).models
    weights = [{n: s for n, s in models_of(run, names).items() if n.endswith("tensors")} for run in (whole, cut)]
    assert weights[0] == weights[1] and ExpertSet.load(cut).verify() == []


def _die(*arguments: object, **options: object) -> None:
    raise _Killed


@pytest.mark.parametrize("finished", ["full"], indirect=True)
def test_an_added_language_can_be_aligned_and_removed_again(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    before = ExpertSet.load(run)
    state = models_of(run, before.models)
    xelm.add_language(run, "swe", new_text(tmp_path, "swe"), donor="rus", tokens=128)
    pairs = write_jsonl(tmp_path / "pairs" / "swe.jsonl", [_made(n) for n in range(40)]).parent
    with pytest.raises(BadInput, match=r"was trained before swe was added"):
        xelm.align(run, pairs, train=True, expert=before.names[0], languages=["swe"], **QUICK)
    found = xelm.align(run, pairs, train=True, epochs=1, **{**QUICK, "max_length": 32})
    assert "swe" in found.training["expert"] and ExpertSet.load(run).verify() == []
    xelm.blend(run, keep=0.5)
    assert ExpertSet.load(run).verify() == []
    xelm.remove_language(run, "swe")
    assert models_of(run, before.models) != state  # blended still
    xelm.blend(run, keep=1)
    assert models_of(run, before.models) == state and ExpertSet.load(run).verify() == []


@pytest.mark.parametrize("finished", ["full"], indirect=True)
def test_an_expert_that_was_moved_back_is_aligned_as_it_was_trained(
    finished: Path, pairs: Path, tmp_path: Path
) -> None:
    options = {**QUICK, "max_length": 32, "languages": ["nld"], "epochs": 1, "train": True}
    plain, moved = copy_of(finished, tmp_path / "a"), copy_of(finished, tmp_path / "b")
    xelm.align(plain, pairs, **options)
    xelm.blend(moved, keep=0.5)
    xelm.align(moved, pairs, **options)
    assert ExpertSet.load(moved).verify() == [] and ExpertSet.load(moved).is_blended
    xelm.blend(moved, keep=1)
    names = ExpertSet.load(plain).models
    weights = [{n: s for n, s in models_of(run, names).items() if n.endswith("tensors")} for run in (plain, moved)]
    assert weights[0] == weights[1]


def _made(number: int) -> dict[str, str]:
    words = sentence(number, topic_of(number))
    return {"text": " ".join(word[::-1] for word in words), "eng": " ".join(words)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": True}, "written to a new folder: name it with out="),
        ({"out": "x"}, "give train=True too"),
        ({"train": True, "out": "full"}, "not empty, and not written by the same command"),
        ({"train": True, "out": "x", "epochs": 0}, "epochs=0: must be at least 1"),
        ({"train": True, "out": "x", "step_pairs": 1}, "two pairs or more"),
        ({"train": True, "out": "x", "temperature": 0.0}, "temperature=0.0: must be greater than 0"),
        ({"train": True, "out": "x", "contrast": -1.0}, "contrast=-1.0: must be at least 0"),
        ({"train": True, "out": "x", "heldout": 0.9999}, "0 pairs to learn from"),
        ({"train": True, "out": "x", "expert": "a"}, "is no run"),
        ({"train": True, "out": "x", "layer": 0, "adapter": "lora"}, "no trained weights lie below that layer"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(
    model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=message):
        xelm.align(model, pairs, **{**QUICK, **options})


def test_an_expert_must_be_meant(finished: Path, pairs: Path, tmp_path: Path) -> None:
    mixed = write_pairs(tmp_path / "pairs", ("deu", "spa"), 60)
    with pytest.raises(BadInput, match="no expert of this run"):
        xelm.align(finished, pairs, train=True, expert="base", **QUICK)
    with pytest.raises(BadInput, match="an expert of a run is trained in place"):
        xelm.align(finished, pairs, train=True, out=tmp_path / "x", **QUICK)
    with pytest.raises(BadInput, match="no expert owns one of them"):
        xelm.align(finished, mixed, train=True, languages=["spa"], **QUICK)
    russian = ExpertSet.load(finished).plan.cluster_of("rus")
    with pytest.raises(BadInput, match="owns none of them"):
        xelm.align(finished, mixed, train=True, expert=russian, **QUICK)
    if "lora" in str(finished):
        with pytest.raises(BadInput, match="is of kind lora"):
            xelm.align(finished, mixed, train=True, adapter="full", **QUICK)
