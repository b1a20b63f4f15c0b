"""The reference of the recipe is made from the code, and explains every key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from xelm.recipe.docstrings import field_docs
from xelm.recipe.recipe import Recipe, Train
from xelm.recipe.reference import recipe_keys, recipe_reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipe.md"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == recipe_reference(), (
        "run: python -m xelm.recipe.reference > docs/recipe.md"
    )


def test_every_key_is_there_and_explained() -> None:
    keys = list(recipe_keys())
    table = Recipe.from_dict(
        {"base": {"new": {}}, "data": {"path": "c"}, "clusters": {"k": 1}, "train": {"tokens": 1}}
    ).to_dict()
    wanted = {(section, key) for section, values in table.items() if isinstance(values, dict) for key in values}
    wanted |= {("base.new", key) for key in table["base"]["new"]}
    assert {(key.section, key.name) for key in keys} >= wanted - {("base", "new")}
    assert [f"{key.section}.{key.name}" for key in keys if not key.text] == []


def test_the_text_under_a_field_is_its_description() -> None:
    docs = field_docs(Train)
    assert docs["tokens"] == "Training tokens of all experts together; the dense baseline gets as many."
    assert set(docs) <= {item.name for item in dataclasses.fields(Train)}
