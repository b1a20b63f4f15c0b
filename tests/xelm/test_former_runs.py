"""Runs of an earlier version: the fingerprints of their models are known, so a finished one is finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from clustering.files import write_json
from tests.xelm.former_recipes import FORMER
from xelm.making.make_model import is_made
from xelm.making.portable import portable_recipe
from xelm.making.workspace import Workspace
from xelm.recipe.recipe import Recipe
from xelm.run.folder import model_path
from xelm.run.names import DENSE
from xelm.run.records.manifest import Manifest, ModelEntry

KNOWN: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("former_fingerprints.json").read_text())


@pytest.mark.parametrize("what", FORMER)
def test_a_model_of_an_earlier_version_is_known_again(
    what: str, tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    run, recipe = tmp_path / "run", tiny_recipe(**FORMER[what])
    _pretend_made(run, KNOWN[what])
    write_json(run / "xelm.json", {**asdict(Manifest(portable_recipe(recipe))), "format_version": 1})
    makings = Workspace.prepare(recipe, run).makings.all()
    assert makings.keys() == KNOWN[what].keys()
    assert [name for name, making in makings.items() if not is_made(making)] == []
    assert makings.get(DENSE) is None or makings[DENSE].kind.kind == "full", "as it was made then"


def _pretend_made(run: Path, prints: dict[str, str]) -> None:
    for name, print_ in prints.items():
        entry = ModelEntry([], "base", state="done", fingerprint=print_)
        write_json(run / model_path(name) / "xelm_model.json", asdict(entry))


@pytest.mark.parametrize("what", ["engine", "engine, lora"])
def test_a_model_made_with_other_settings_of_the_engine_is_known_by_what_the_run_recorded(
    what: str, tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    run, then = tmp_path / "run", FORMER[what]
    _pretend_made(run, KNOWN[what])
    write_json(run / "xelm.json", asdict(Manifest(portable_recipe(tiny_recipe(**then)))))
    now = tiny_recipe(**{**then, "train": {"precision": "fp32", "micro_batch_size": 4, "compile": True}})
    assert all(is_made(making) for making in Workspace.prepare(now, run).makings.all().values())
    other = tiny_recipe(**{**then, "train": {"learning_rate": 1e-4}})
    assert not any(is_made(making) for making in Workspace.prepare(other, run).makings.all().values())
