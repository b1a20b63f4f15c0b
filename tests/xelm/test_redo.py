"""Nothing trained is thrown away before it is said; settings of the engine throw nothing away."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xelm
import xelm.training.loop as loop
from clustering.errors import BadInput
from tests.xelm.conftest import make_corpus, sentences, write_jsonl
from xelm import ExpertSet, Recipe
from xelm.training.checkpoint import newest_step

MakeRecipe = Callable[..., Recipe]


def _train_until(recipe: Recipe, run: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the training of the base as Ctrl-C would, after so many steps."""
    real, taken = loop._Training._take_step, iter(range(1, 1000))

    def stop(*args: Any) -> Any:
        if next(taken) > step:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop._Training, "_take_step", stop)
        xelm.train(recipe, out=run, report=False)


def _steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every step of every training from now on: name and step."""
    real, taken = loop._Training._take_step, list[tuple[str, int]]()

    def note(training: Any, *rest: Any) -> Any:
        taken.append((training.stage.name, training.progress.step))
        return real(training, *rest)

    monkeypatch.setattr(loop._Training, "_take_step", note)
    return taken


@pytest.fixture
def half(tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose base stopped after 5 of 10 steps, its last checkpoint after 4."""
    _train_until(tiny_recipe(), tmp_path / "run", 5, monkeypatch)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"train": {"learning_rate": 1e-4}}, r"\[train\] learning_rate was 0.002 and is 0.0001"),
        ({"train": {"seed": 3, "clip_norm": 2.0}}, r"clip_norm was 1.0 and is 2.0; \[train\] seed was 0 and is 3"),
        ({"data": {"valid_fraction": 0.1}}, r"\[data\] valid_fraction was 0.02 and is 0.1"),
    ],
)
def test_a_half_trained_model_is_not_thrown_away_without_a_word(
    half: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], told: str
) -> None:
    work = {path.name for path in (half / "work").iterdir()}
    manifest = (half / "xelm.json").read_bytes()
    with pytest.raises(BadInput, match=rf"half trained with another .*: base \(up to step 4\)\. .*{told}.*redo=True"):
        xelm.train(tiny_recipe(**changed), out=half, report=False)
    assert {path.name for path in (half / "work").iterdir()} == work
    assert (half / "xelm.json").read_bytes() == manifest
    taken = _steps_taken(monkeypatch)
    xelm.train(tiny_recipe(**changed), out=half, report=False, redo=True)
    assert taken[0] == ("base", 0)


def test_another_text_is_named(half: Path, tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    folder = make_corpus(tmp_path / "other")
    write_jsonl(folder / "rus.jsonl", list(sentences("rus", 60, seed=1)))
    with pytest.raises(BadInput, match="What changed: the text of rus is another"):
        xelm.train(tiny_recipe(data={"path": str(folder)}), out=half)


def test_settings_of_the_engine_change_in_mid_training_and_after_it_without_a_step_too_many(
    half: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = {"micro_batch_size": 1, "gradient_checkpointing": True, "precision": "bf16"}
    taken = _steps_taken(monkeypatch)
    experts = xelm.train(tiny_recipe(train=engine), out=half, report=False)
    assert taken[:6] == [("base", step) for step in range(4, 10)]
    prints = {name: experts.entry_or_none(name).fingerprint for name in experts.models}  # type: ignore[union-attr]
    del taken[:]
    again = xelm.train(tiny_recipe(), out=half, report=False)
    assert taken == []
    assert {name: again.entry_or_none(name).fingerprint for name in again.models} == prints  # type: ignore[union-attr]


def test_a_lora_run_with_a_full_dense_baseline_stays_as_it_is(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    lora = {"kind": "lora", "rank": 2}
    with_full = tiny_recipe(expert=lora, train={"dense": "full"})
    experts = xelm.train(with_full, out=tmp_path / "run", report=False)
    assert experts.manifest.dense is not None
    assert (experts.manifest.dense.kind, experts.manifest.experts[experts.names[0]].kind) == ("full", "lora")
    before = (experts.folder("dense") / "model.safetensors").stat().st_mtime_ns
    again = xelm.train(tiny_recipe(expert=lora), out=tmp_path / "run", report=False)
    assert (again.folder("dense") / "model.safetensors").stat().st_mtime_ns == before
    shutil.rmtree(tmp_path / "run" / "dense")
    new = xelm.train(tiny_recipe(expert=lora), out=tmp_path / "run", report=False)
    assert ExpertSet.load(new.path).manifest.dense == new.manifest.dense
    assert new.manifest.dense is not None
    assert new.manifest.dense.kind == "lora"
    assert newest_step(tmp_path / "run" / "work") is None
