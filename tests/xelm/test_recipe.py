"""Recipes: read strictly, errors name the key, the value and the way out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.errors import BadInput
from tests.xelm.conftest import tiny_table
from xelm.recipe.recipe import Recipe, Train

TOML = """
[base.new]
hidden_size = 16
num_heads = 2
[data]
path = "{path}"
[clusters]
k = 2
[train]
tokens = 1000
"""


def _write(folder: Path, text: str = TOML, path: str = "corpus") -> Path:
    file = folder / "recipe.toml"
    file.write_text(text.format(path=path), encoding="utf-8")
    return file


def test_every_field_survives_the_way_to_json_and_back() -> None:
    recipe = Recipe.from_dict(
        tiny_table(
            data={"languages": ["deu", "nld"], "on_bad_line": "skip"},
            train={"schedule": "wsd", "sequence_length": 16, "micro_batch_size": 2},
            expert={"kind": "lora", "targets": ["q_proj"]},
        )
    )
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_to_dict_holds_the_defaults_too() -> None:
    table = Recipe.from_dict(tiny_table()).to_dict()
    assert table["expert"]["kind"] == "full"
    assert set(table["train"]) == {field.name for field in dataclasses.fields(Train)}


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        ("train", "token", r"unknown key 'token' in \[train\]: did you mean 'tokens'\?"),
        ("train", "batchsize", r"did you mean 'batch_size'\?"),
        ("data", "on_bad_lines", r"\[data\]: did you mean 'on_bad_line'\?"),
        ("clusters", "zzz", r"unknown key 'zzz' in \[clusters\]: known keys: k, plan"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_near_one(section: str, key: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Recipe.from_dict(tiny_table(**{section: {key: 1}}))


def test_an_unknown_section_is_an_error_that_names_the_near_one() -> None:
    with pytest.raises(BadInput, match=r"unknown key 'training' in the recipe: did you mean 'train'\?"):
        Recipe.from_dict({**tiny_table(), "training": {}})


def test_an_unknown_key_of_a_nested_section_is_named_with_its_place() -> None:
    table = tiny_table()
    table["base"]["new"] = {"hiden_size": 16}
    with pytest.raises(BadInput, match=r"'hiden_size' in \[base.new\]: did you mean 'hidden_size'\?"):
        Recipe.from_dict(table)


@pytest.mark.parametrize("section", ["base", "data", "clusters", "train"])
def test_a_missing_section_is_named(section: str) -> None:
    table = tiny_table()
    del table[section]
    with pytest.raises(BadInput, match=rf"the section \[{section}\] is missing"):
        Recipe.from_dict(table)


def test_a_missing_key_is_named_with_its_section() -> None:
    table = tiny_table()
    del table["train"]["tokens"]
    with pytest.raises(BadInput, match=r"\[train\] lacks the key 'tokens'"):
        Recipe.from_dict(table)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("train", "tokens", "many", "train.tokens = 'many': expected int"),
        ("train", "tokens", True, "train.tokens = True: expected int"),
        ("train", "tokens", 1e6, "train.tokens = 1000000.0: expected int"),
        ("train", "tokens", None, "train.tokens = None: expected int"),
        ("train", "learning_rate", "fast", "train.learning_rate = 'fast': expected float"),
        ("train", "dense", 1, "train.dense = 1: expected bool"),
        ("data", "path", 3, "data.path = 3: expected str"),
        ("data", "languages", "deu", "data.languages = 'deu': a list of strings"),
        ("data", "languages", ["deu", 1], "a list of strings"),
        ("train", "schedule", "cosin", r"train.schedule = 'cosin': choose .*\(cosine\?\)"),
        ("train", "schedule", ["cosine"], "choose cosine or linear"),
        ("clusters", "balance", "token", r"choose languages or tokens \(tokens\?\)"),
        ("expert", "kind", "Lora", "choose full or last_n_layers or layers or lora"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_key_and_value(
    section: str, key: str, value: Any, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Recipe.from_dict(tiny_table(**{section: {key: value}}))


def test_a_section_that_is_a_value_is_named() -> None:
    with pytest.raises(BadInput, match=r"\[train\] must be a table of keys, found 3"):
        Recipe.from_dict({**tiny_table(), "train": 3})


def test_a_whole_number_serves_as_a_float() -> None:
    rate = Recipe.from_dict(tiny_table(train={"learning_rate": 1})).train.learning_rate
    assert rate == 1.0
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("section", "keys", "message"),
    [
        ("train", {"tokens": 0}, "tokens=0 must be at least 1"),
        ("train", {"batch_size": 0}, "batch_size=0 must be at least 1"),
        ("train", {"checkpoint_every_steps": 0}, "checkpoint_every_steps=0"),
        ("train", {"learning_rate": 0}, r"learning_rate=0.0 must be > 0"),
        ("train", {"learning_rate": float("nan")}, "learning_rate=nan"),
        ("train", {"sampling_temperature": 0}, "sampling_temperature=0.0 must be > 0"),
        ("train", {"clip_norm": -1}, "clip_norm=-1.0 must be > 0"),
        ("train", {"warmup_fraction": 1.5}, r"warmup_fraction=1.5 must lie in \[0, 1\]"),
        ("train", {"min_learning_rate_ratio": -0.1}, r"min_learning_rate_ratio=-0.1"),
        ("train", {"weight_decay": -0.1}, "weight_decay=-0.1"),
        ("train", {"seed": -1}, "seed=-1"),
        ("train", {"sequence_length": 7}, "sequence_length=7 must be at least 8"),
        ("train", {"micro_batch_size": 3}, "micro_batch_size=3 must divide batch_size=4"),
        ("train", {"micro_batch_size": 0}, "micro_batch_size=0 must divide"),
        ("data", {"path": ""}, "path is empty"),
        ("data", {"languages": []}, "languages"),
        ("data", {"valid_fraction": 0.5, "test_fraction": 0.5}, r"1.0 must lie in \[0, 1\)"),
        ("data", {"valid_fraction": -0.1}, "valid_fraction"),
        ("data", {"heldout_bytes": -1}, "heldout_bytes=-1"),
        ("clusters", {"k": 0}, "k=0 must be at least 1"),
        ("clusters", {"plan": "plan.json"}, "either k = N or plan"),
        ("clusters", {"k": None}, "either k = N or plan"),
        ("base", {"model": "gpt2"}, r"either model = .* or a \[base.new\] table"),
        ("base", {"new": None}, r"either model = .* or a \[base.new\] table"),
        (
            "base",
            {"new": {"hidden_size": 15, "num_heads": 2}},
            "hidden_size=15 must be an even multiple",
        ),
        ("base", {"new": {"num_heads": 0}}, "num_heads=0 must be at least 1"),
        ("base", {"new": {"hidden_size": 6, "num_heads": 2}}, "hidden_size=6 must be an even multiple"),
        ("base", {"new": {"num_layers": 0}}, "num_layers=0 must be at least 1"),
        ("base", {"new": {"tokens": 0}}, "tokens=0 must be at least 1"),
        ("base", {"new": {"vocab_size": 259}}, "vocab_size=259 must be at least 260"),
        ("base", {"new": {"learning_rate": 0}}, "learning_rate=0.0 must be > 0"),
        ("base", {"new": {"intermediate_size": -5}}, "intermediate_size=-5"),
        ("base", {"new": {"context_length": 4}}, "context_length=4 must be at least 8"),
        ("expert", {"rank": 0}, "rank=0 must be at least 1"),
        ("expert", {"num_last_layers": 0}, "num_last_layers=0 must be at least 1"),
        ("expert", {"targets": []}, "targets"),
    ],
)
def test_a_value_out_of_range_is_named(section: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Recipe.from_dict(tiny_table(**{section: keys}))


def test_overrides_reach_nested_keys_and_parse_as_toml(tmp_path: Path) -> None:
    overrides = ("train.seed=7", "base.new.tokenizer=bpe", "train.dense=false", "data.languages=['deu']")
    recipe = Recipe.load(_write(tmp_path), overrides)
    assert recipe.base.new is not None
    assert (recipe.train.seed, recipe.base.new.tokenizer, recipe.train.dense) == (7, "bpe", False)
    assert recipe.data.languages == ("deu",)


def test_an_override_may_open_a_section_that_the_file_lacks(tmp_path: Path) -> None:
    assert Recipe.load(_write(tmp_path), ("expert.kind=lora",)).expert.kind == "lora"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seed", "write section.key=value"),
        ("train.sed=1", "did you mean 'seed'"),
        ("train.tokens.more=1", "'tokens' is a value, not a section"),
        ("train.seed=many", "train.seed = 'many': expected int"),
        ("=3", "unknown key ''|write section.key=value"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Recipe.load(_write(tmp_path), (override,))


def test_relative_paths_start_at_the_recipe_wherever_the_caller_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes" / "corpus").mkdir(parents=True)
    file = _write(tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    assert Recipe.load("recipes/recipe.toml").data.path == str(file.parent / "corpus")


@pytest.mark.parametrize("path", ["./corpus", "../corpus", "corpus/"])
def test_what_is_spelt_as_a_path_is_one_even_if_nothing_is_there(tmp_path: Path, path: str) -> None:
    assert Recipe.load(_write(tmp_path, path=path)).data.path == str((tmp_path / path).resolve())


def test_a_hub_id_stays_a_hub_id(tmp_path: Path) -> None:
    assert Recipe.load(_write(tmp_path, path="someone/dataset")).data.path == "someone/dataset"


def test_a_plan_and_a_model_beside_the_recipe_are_found_there(tmp_path: Path) -> None:
    (tmp_path / "plan.json").touch()
    (tmp_path / "model").mkdir()
    text = '[base]\nmodel = "model"\n[data]\npath = "/data"\n[clusters]\nplan = "plan.json"\n[train]\ntokens = 9\n'
    recipe = Recipe.load(_write(tmp_path, text))
    assert recipe.base.model == str(tmp_path / "model")
    assert recipe.clusters.plan == str(tmp_path / "plan.json")
    assert recipe.data.path == "/data"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[train\n", "not a valid TOML recipe"), (b"\xff\xfe", "not a valid TOML recipe"), (None, "no such recipe file")],
)
def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "recipe.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput, match=rf"{file}: {message}"):
        Recipe.load(file)


def test_a_wrong_key_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"{tmp_path / 'recipe.toml'}: unknown key 'sed'"):
        Recipe.load(_write(tmp_path), ("train.sed=1",))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from(["base", "data", "clusters", "train", "expert"]).flatmap(
        lambda name: st.tuples(
            st.just(name), st.sampled_from(["new", "path", "languages", "k", "seed", "precision", "targets"]), _JSON
        )
    )
)
def test_whatever_stands_in_a_recipe_is_taken_or_refused_as_bad_input(change: tuple[str, str, Any]) -> None:
    section, key, value = change
    table = tiny_table(**{section: {key: value}})
    try:
        recipe = Recipe.from_dict(table)
    except BadInput as error:
        assert str(error)
    else:
        assert Recipe.from_dict(recipe.to_dict()) == recipe
