"""Rows of pieces that an expert never read, put back to the base: exact, undone to the byte, right after additions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import xelm
from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of, new_text, train_tiny
from xelm.adding.add import add_language, remove_language
from xelm.blending.choose import Measured, _better
from xelm.blending.moved import Rows
from xelm.blending.unread import FILE, find_unread, read_rows
from xelm.cli import group
from xelm.inference.routed import RoutedLM
from xelm.run.experts import ExpertSet

EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes: a head tied to the embedding."""
    return train_tiny(tmp_path_factory.mktemp("full"), train={"tokens": 1536, "learning_rate": 2e-2})


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_of(finished, tmp_path)


def _weights(experts: ExpertSet, name: str) -> dict[str, torch.Tensor]:
    return dict(experts.load_model(name).state_dict())


def _russian(experts: ExpertSet) -> str:
    return str(experts.plan.cluster_of("rus"))


def test_rows_of_pieces_that_its_text_has_not_are_the_base_s_and_all_else_stays(run: Path) -> None:
    before = ExpertSet.load(run)
    name = _russian(before)
    read = {piece for path in run.glob("cache/rus-*/tokens.bin") for piece in np.fromfile(path, np.uint16).tolist()}
    rows = torch.tensor(sorted(set(range(_weights(before, "base")[EMBEDDING].shape[0])) - read))
    assert 50 < len(rows) < 250, "a byte vocabulary of which Russian text has a part"
    base, trained = _weights(before, "base"), _weights(before, name)
    experts = xelm.blend(run, keep=1, unread=True)
    assert experts.verify() == []
    now = _weights(experts, name)
    assert not torch.equal(trained[EMBEDDING][rows], base[EMBEDDING][rows]), "training moves what it never reads"
    expected = trained[EMBEDDING].clone()
    expected[rows] = base[EMBEDDING][rows]
    assert torch.equal(now[EMBEDDING], expected)
    others = [key for key in now if key not in (EMBEDDING, "lm_head.weight")]
    assert all(torch.equal(now[key], trained[key]) for key in others)
    assert experts.manifest.experts[name].put_back == ["unread"]


def test_with_a_share_the_rest_is_moved_by_it_and_keep_1_undoes_all(run: Path, finished: Path) -> None:
    before = ExpertSet.load(run)
    name = _russian(before)
    base, trained = _weights(before, "base"), _weights(before, name)
    experts = xelm.blend(run, keep=0.5, unread=True)
    rows, now = torch.tensor(sorted(read_rows(experts.folder(name)).ids)), _weights(experts, name)
    expected = base[EMBEDDING] + 0.5 * (trained[EMBEDDING] - base[EMBEDDING])
    expected[rows] = base[EMBEDDING][rows]
    torch.testing.assert_close(now[EMBEDDING], expected)
    xelm.blend(run, keep=1)
    assert contents(run) == contents(finished)


def test_a_head_of_its_own_and_its_rows_are_put_back_too(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from xelm.models.interpolation import move_back

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    models = {name: LlamaForCausalLM(config) for name in ("base", "expert")}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    move_back(tmp_path / "expert", tmp_path / "base", 1.0, rows=[2, 7])
    now = LlamaForCausalLM.from_pretrained(tmp_path / "expert").state_dict()
    base, trained = (model.state_dict() for model in models.values())
    for key, value in now.items():
        expected = trained[key].clone()
        if key in (EMBEDDING, "lm_head.weight"):
            expected[[2, 7]] = base[key][[2, 7]]
        assert torch.equal(value, expected), key


@pytest.mark.parametrize("kind", ["join", "new"])
def test_a_language_that_joins_takes_its_pieces_from_the_rows_and_gives_them_back(
    run: Path, tmp_path: Path, kind: Any
) -> None:
    name = _russian(ExpertSet.load(run))
    start = read_rows(xelm.blend(run, keep=0.7, unread=True).folder(name)).ids
    before = contents(run)
    grown = add_language(run, "swe", new_text(tmp_path, "swe"), donor="rus", tokens=128, as_=kind)
    now = read_rows(grown.folder(name)).ids
    assert grown.verify() == []
    letters = {piece for path in run.glob("cache/swe-*/tokens.bin") for piece in np.fromfile(path, np.uint16).tolist()}
    assert now == (start - letters if kind == "join" else start)
    assert kind == "new" or now < start
    remove_language(run, "swe")
    assert contents(run) == before


def test_without_the_text_it_is_refused_and_auto_goes_on_without_rows(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in run.glob("cache/rus-*"):
        shutil.rmtree(folder)
    with pytest.raises(BadInput, match=r"the tokenised text of rus is not in its cache/.* with unread=False"):
        xelm.blend(run, keep=0.5, unread=True)
    experts = xelm.blend(run, keep="auto", lose=0.4)
    assert "rus is not in its cache" in caplog.text
    assert not any(entry.put_back for entry in experts.manifest.experts.values())


def test_adapters_have_no_rows_of_their_own(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, expert={"kind": "lora", "rank": 2}, train={"tokens": 512})
    assert not any(entry.put_back for entry in xelm.blend(run, keep=0.5, unread=True).manifest.experts.values())


def test_replayed_languages_are_read_too(tmp_path: Path) -> None:
    experts = ExpertSet.load(train_tiny(tmp_path, expert={"replay": 0.3}, train={"tokens": 512}))
    found = {find_unread(experts, name).ids for name in experts.names}
    assert len(found) == 1, "every expert has read the text of all languages"


def _measured(gain_with_rows: float, cost_with_rows: float) -> Measured:
    base = {"deu": np.full(400, 100.0), "rus": np.full(400, 100.0)}
    at = {1.0: (0.1, 1.0), 0.9: (0.098, 0.8), "unread rows": (gain_with_rows, cost_with_rows)}
    nats = {k: {"deu": base["deu"] * (1 - gain), "rus": base["rus"] * (1 + cost)} for k, (gain, cost) in at.items()}
    return Measured(["deu"], base, nats, Rows(frozenset({1})))


@pytest.mark.parametrize(
    ("gain", "cost", "better"),
    [
        (0.098, 0.3, True),  # 0.7 of the cost for 0.02 of the gain, where λ = 0.9 saves 0.2 for as much
        (0.094, 0.5, False),  # 0.5 for 0.06, where λ = 0.9 saves 0.6 for as much
        (0.101, 0.99, True),  # costs nothing
        (0.1, 1.1, False),  # saves nothing
        (0.08, 0.0, False),  # takes more of the gain than may be lost
    ],
)
def test_rows_are_put_back_where_they_save_more_than_a_share_of_the_way(gain: float, cost: float, better: bool) -> None:
    assert _better(_measured(gain, cost), 0.9, 0.9) == better


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"unread": [[3, 2]], "read_since": {}}', '{"unread": 5, "read_since": {}}']
)
def test_a_damaged_list_of_rows_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=f"{FILE}: damaged"):
        read_rows(tmp_path)


def test_the_command_names_the_rows_and_a_router_answers_with_them(run: Path) -> None:
    name = _russian(ExpertSet.load(run))
    before = RoutedLM.from_pretrained(run, device="cpu").score(["и не это дом"], policy=name)[0].nats
    result = CliRunner().invoke(group, ["blend", str(run), "--keep", "0.9", "--unread", "--json"])
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)["test"][name]
    assert (row["keep"], row["put_back"]) == (0.9, ["unread"])
    assert "0.90 without unread" in CliRunner().invoke(group, ["blend", str(run), "--keep", "0.9", "--unread"]).output
    assert "unread" in CliRunner().invoke(group, ["info", str(run)]).output
    assert RoutedLM.from_pretrained(run, device="cpu").score(["и не это дом"], policy=name)[0].nats != before
