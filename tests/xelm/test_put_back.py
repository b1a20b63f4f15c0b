"""Layers of experts put back to the base: exact for every kind, undone to the byte, chosen by what is missed least."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import xelm
from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of, new_text, train_tiny
from xelm.adding.add import add_language, remove_language
from xelm.blending.text import blend_table
from xelm.cli import main
from xelm.inference.routed import RoutedLM
from xelm.models.layer_groups import layer_of
from xelm.run.experts import ExpertSet
from xelm.run.export import export

KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"rank": 2},
    "layers": {"layers": [0, 2]},
}
full_only = pytest.mark.parametrize("finished", ["full"], indirect=True)
NEW_BASE = {"tokenizer": "byte", "hidden_size": 16, "num_layers": 3, "num_heads": 2, "context_length": 160}


@pytest.fixture(scope="module", params=list(KINDS))
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return train_tiny(
        tmp_path_factory.mktemp(request.param),
        base={"new": {**NEW_BASE, "tokens": 1600, "learning_rate": 5e-3}},
        expert={"kind": request.param, **KINDS[request.param]},
        train={"tokens": 1920, "learning_rate": 2e-2},
    )


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_of(finished, tmp_path)


def _weights(experts: ExpertSet, name: str) -> dict[str, torch.Tensor]:
    model = experts.load_model(name)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    return dict(model.state_dict())


def test_layers_that_are_put_back_are_the_base_s_and_all_else_stays(run: Path) -> None:
    before = ExpertSet.load(run)
    name, base = before.names[0], _weights(before, "base")
    trained = _weights(before, name)
    experts = xelm.blend(run, put_back={name: ["2"]})
    assert experts.verify() == []
    for key, value in _weights(experts, name).items():
        expected = base[key] if layer_of(key) == "2" else trained[key]
        assert torch.equal(value, expected), key
    entry = experts.manifest.experts[name]
    assert (entry.keep, entry.put_back) == (None, ["2"])
    assert not torch.equal(trained["model.layers.2.mlp.up_proj.weight"], base["model.layers.2.mlp.up_proj.weight"])
    others = [other for other in experts.names if other != name]
    assert all(experts.manifest.experts[other].put_back == [] for other in others)


def test_it_is_undone_to_the_byte_and_counts_from_the_trained_expert(run: Path, finished: Path) -> None:
    name = ExpertSet.load(run).names[0]
    xelm.blend(run, keep=0.5)
    xelm.blend(run, put_back={name: ["0"]})
    once = contents(run)
    xelm.blend(run, put_back={name: ["2"]})
    xelm.blend(run, put_back={name: ["0"]})
    assert contents(run) == once
    xelm.blend(run, keep=1)
    assert contents(run) == contents(finished)


def test_a_router_answers_with_the_layers_put_back(run: Path) -> None:
    name = ExpertSet.load(run).names[0]
    texts = ["der Morgen und das Haus", "и не это дом"]
    before = [score.nats for score in RoutedLM.from_pretrained(run, device="cpu").score(texts, policy=name)]
    experts = xelm.blend(run, put_back={name: ["0"]})
    after = [score.nats for score in RoutedLM.from_pretrained(run, device="cpu").score(texts, policy=name)]
    assert after != before
    export(run, name, run.parent / "plain")
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(run.parent / "plain").state_dict()
    for key, value in _weights(experts, name).items():
        torch.testing.assert_close(plain[key], value, rtol=0, atol=1e-6)


@full_only
def test_layers_are_put_back_to_the_budget_the_least_missed_first(run: Path) -> None:
    experts = xelm.blend(run, put_back="auto", lose=0.4)
    table = blend_table(experts)["valid"]
    for row in table.values():
        if row["own_gain_percent"]["before"] > 0:
            assert row["gain_kept"] >= 0.6
    assert any(row["put_back"] for row in table.values()), "some layer is worth less than two fifths of the gain"


def test_an_addition_comes_and_goes_and_its_donor_is_the_trained_expert(run: Path, tmp_path: Path) -> None:
    name = ExpertSet.load(run).plan.cluster_of("rus")
    before = ExpertSet.load(run).manifest.experts[name].fingerprint
    xelm.blend(run, put_back={name: ["0"]})
    start = contents(run)
    grown = add_language(run, "swe", new_text(tmp_path, "swe"), donor="rus", tokens=128)
    assert grown.verify() == []
    assert grown.manifest.experts[grown.plan.cluster_of("swe")].parent_fingerprint == before
    assert grown.manifest.experts[name].put_back == ["0"]
    remove_language(run, "swe")
    assert contents(run) == start


def _xelm(*words: str) -> int:
    """The exit code of the program, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["xelm", *words])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


@full_only
def test_what_does_not_fit_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="no expert 'c9'"):
        xelm.blend(run, put_back={"c9": ["0"]})
    with pytest.raises(BadInput, match="give one of the two"):
        xelm.blend(run, keep=0.5, put_back="auto")
    with pytest.raises(BadInput, match=r'"9" names no weight'):
        xelm.blend(run, put_back={ExpertSet.load(run).names[0]: ["9"]})
    assert _xelm("blend", str(run), "--auto", "--put-back") == 2
    assert "give one of the two" in capsys.readouterr().err


@full_only
def test_the_command_and_info_name_the_layers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _xelm("blend", str(run), "--put-back", "--lose", "0.5") == 0
    out = capsys.readouterr().out
    entries = ExpertSet.load(run).manifest.experts
    named = [" ".join(entry.put_back) for entry in entries.values() if entry.put_back]
    assert named and all(f"without {layers}" in out for layers in named)
    assert _xelm("info", str(run)) == 0
    out = capsys.readouterr().out
    assert all(f"layers put back: {layers}" in out for layers in named)
