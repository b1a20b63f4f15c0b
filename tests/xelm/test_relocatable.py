"""A run holds nothing of the machine that made it: the same recipe in two folders gives the same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clustering.errors import BadInput
from tests.xelm.adding import contents
from tests.xelm.conftest import make_corpus
from xelm.making.train import train
from xelm.run.records.manifest import kept_files

RECIPE = """
[base.new]
tokenizer = "byte"
hidden_size = 16
num_layers = 1
num_heads = 2
context_length = 32
tokens = 256

[data]
path = "../texts/corpus"

[clusters]
k = 2

[train]
tokens = 768
batch_size = 4

[expert]
kind = "lora"
rank = 2
"""


def _train(folder: Path) -> Path:
    make_corpus(folder / "texts" / "corpus", 40)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "r.toml").write_text(RECIPE)
    return train(folder / "recipes" / "r.toml", folder / "run").path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [_train(tmp_path_factory.mktemp(name)) for name in ("one", "another-of-longer-name")]


def test_two_folders_give_the_same_bytes(runs: list[Path]) -> None:
    one, other = ({name: (run / name).read_bytes() for name in [*kept_files(run), "xelm.json"]} for run in runs)
    assert one == other
    assert any(name.endswith("adapter_model.safetensors") for name in one)


def test_no_file_that_verify_covers_names_a_folder_of_this_machine(runs: list[Path]) -> None:
    for name in [*kept_files(runs[0]), "xelm.json"]:
        content = (runs[0] / name).read_bytes()
        assert str(runs[0].parent).encode() not in content, name
        assert os.fsencode(Path.cwd()) not in content, name


def test_the_recipe_is_kept_as_it_was_written(runs: list[Path]) -> None:
    assert json.loads((runs[0] / "xelm.json").read_text())["recipe"]["data"]["path"] == "../texts/corpus"


def test_an_adapter_names_the_base_beside_it(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import AutoPeftModelForCausalLM

    folder = next(p.parent for p in runs[0].rglob("adapter_config.json"))
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "../../base"
    before = contents(runs[0])
    monkeypatch.chdir(folder)
    assert AutoPeftModelForCausalLM.from_pretrained(".").peft_config["default"].r == 2
    monkeypatch.chdir(runs[0].parent)
    with pytest.raises(Exception, match=r"\.\./\.\./base"):
        AutoPeftModelForCausalLM.from_pretrained(str(folder))
    assert contents(runs[0]) == before


def test_a_recipe_that_changed_is_told_without_paths_that_did_not(runs: list[Path]) -> None:
    recipe = runs[1].parent / "recipes" / "r.toml"
    with pytest.raises(BadInput, match="made with another recipe, data or parent") as caught:
        train(recipe, runs[1], overrides=("train.learning_rate=3e-3",))
    assert "learning_rate" in str(caught.value)
    assert "corpus" not in str(caught.value)
