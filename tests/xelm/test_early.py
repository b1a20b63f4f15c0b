"""What can be known before text is tokenised is told before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xelm
from clustering.errors import BadInput
from tests.xelm.made_runs import make_run
from xelm import Recipe

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model to start from."""
    return str(make_run(tmp_path_factory.mktemp("made"), "full") / "base")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clusters": {"method": "wardd"}}, "wardd.*ward"),
        ({"clusters": {"k": 9}}, "k = 9 does not fit 3 languages"),
        ({"clusters": {"k": 9, "balance": "tokens"}}, "k = 9 does not fit 3 languages"),
        ({"clusters": {"distance": "syntactix"}}, "syntactic"),
        ({"train": {"enters": {"Scottish Gaelic": 0.5}}}, "enters: no text for 'Scottish Gaelic'"),
        ({"train": {"enters": {"German": 0.5, "deu": 0.2}}}, "'deu' is deu, which another key names too"),
        ({"train": {"enters": {"deu": 0.5, "nld": 0.2, "rus": 0.1}}}, "none is there at the beginning"),
        ({"train": {"tokens": 100}}, r"tokens=100 leaves no step of 128 tokens for some of 2 experts"),
        ({"train": {"log": "wandb"}}, "pip install wandb"),
        ({"base": {"model": "MODEL"}, "expert": {"kind": "lora", "targets": ["no_such"]}}, "targets do not fit"),
        ({"base": {"model": "MODEL"}, "expert": {"kind": "last_n_layers", "num_last_layers": 3}}, "has 2 layers"),
        ({"base": {"model": "MODEL"}, "train": {"objective": "masked"}}, "masked.*does not fit the base model"),
    ],
    ids=str,
)
def test_it_is_told_before_any_text_is_tokenised(
    tmp_path: Path, tiny_recipe: MakeRecipe, model: str, changes: dict[str, Any], told: str
) -> None:
    if "base" in changes:
        changes = {**changes, "base": {"new": None, "model": model}}
    with pytest.raises(BadInput, match=told):
        xelm.train(tiny_recipe(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run" / "cache").exists()


def test_a_language_enters_by_any_of_its_names(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    from xelm.making.workspace import Workspace

    workspace = Workspace.prepare(tiny_recipe(train={"enters": {"Nederlands": 0.5}}), tmp_path / "run")
    assert workspace.budget.base is not None
    first, second = workspace.budget.base.counts
    assert first.get("nld", 0) == 0 < second["nld"]


def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows_is_refused(
    tmp_path: Path, tiny_recipe: MakeRecipe, model: str
) -> None:
    import shutil

    from transformers import AutoTokenizer

    copy = shutil.copytree(model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.add_tokens(["neu", "nieuw"])
    tokenizer.save_pretrained(copy)
    with pytest.raises(BadInput, match="have none, the first of them 'neu' with number 259"):
        xelm.train(tiny_recipe(base={"new": None, "model": str(copy)}), out=tmp_path / "run")
    assert not list((tmp_path / "run").rglob("tokens.bin"))
