"""Runs of an earlier version: the fingerprints of their models are known, so a finished one is finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.xelm.former_recipes import FORMER
from xelm.making.workspace import Workspace
from xelm.recipe.recipe import Recipe

KNOWN: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("former_fingerprints.json").read_text())


@pytest.mark.parametrize("what", FORMER)
def test_a_model_of_an_earlier_version_is_known_again(
    what: str, tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    makings = Workspace.prepare(tiny_recipe(**FORMER[what]), tmp_path / "run").makings()
    assert {name: making.entry.fingerprint for name, making in makings.items()} == KNOWN[what]
