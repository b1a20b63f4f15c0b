"""`xelm status` tells who is where from what a run leaves on disk."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clustering.errors import BadInput
from clustering.files import write_json
from xelm.cli.status import command
from xelm.launch.attempt import model_lock_file, note_failure
from xelm.launch.status import ModelStatus, run_status
from xelm.making.train import train
from xelm.recipe.recipe import Recipe
from xelm.run.failures import Failure
from xelm.run.records.manifest import Manifest, ModelEntry


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose base is made and whose experts are not."""
    manifest = Manifest(recipe={})
    manifest.put("base", ModelEntry(["deu", "rus"], None, state="done", tokens=100, fingerprint="b" * 64))
    manifest.put("c1-deu", ModelEntry(["deu"], "base", fingerprint="1" * 64))
    manifest.put("c2-rus", ModelEntry(["rus"], "base", fingerprint="2" * 64))
    manifest.put("dense", ModelEntry(["deu", "rus"], "base", fingerprint="d" * 64))
    manifest.write(tmp_path)
    return tmp_path


def _models(run: Path) -> dict[str, ModelStatus]:
    return {model.name: model for model in run_status(run).models}


def _log(run: Path, name: str, *points: dict[str, Any], cut: str = "") -> None:
    (run / "logs").mkdir(exist_ok=True)
    text = "".join(json.dumps(point) + "\n" for point in points)
    (run / "logs" / f"{name}.jsonl").write_text(text + cut, encoding="utf-8")


def test_models_are_done_or_pending_in_the_order_they_are_made(run: Path) -> None:
    models = run_status(run).models
    assert [(m.name, m.state) for m in models] == [
        ("base", "done"),
        ("c1-deu", "pending"),
        ("c2-rus", "pending"),
        ("dense", "pending"),
    ]
    assert models[0].tokens == 100


def test_a_model_that_is_being_made_runs_and_tells_its_last_whole_point(run: Path) -> None:
    points = [{"step": s, "num_steps": 9, "tokens": 10 * s, "loss": 3.0 - s, "tokens_per_s": 50} for s in (1, 2)]
    _log(run, "c1-deu", *points, cut='{"step": 3, "num_')
    model_lock_file(run, "c1-deu").parent.mkdir()
    (run / "work" / f"c1-deu-{'1' * 12}" / "step-00000002").mkdir(parents=True)
    with model_lock_file(run, "c1-deu").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        model = _models(run)["c1-deu"]
        assert run_status(run).phase == "training"
    assert model.state == "running"
    assert (model.step, model.num_steps, model.tokens, model.loss) == (2, 9, 20, 1.0)
    assert model.checkpoint_step == 2
    assert _models(run)["c1-deu"].state == "pending", "the lock went with its process"
    assert run_status(run).phase == "stopped"


def test_a_failed_model_says_why_until_it_is_made(run: Path) -> None:
    note_failure(run, "c2-rus", Failure("the loss is nan."))
    note_failure(run, "c2-rus", Failure("what followed from it."))
    assert (_models(run)["c2-rus"].state, _models(run)["c2-rus"].reason) == ("failed", "the loss is nan.")
    write_json(run / "experts" / "c2-rus" / "xelm_model.json", {})
    assert (_models(run)["c2-rus"].state, _models(run)["c2-rus"].reason) == ("done", None)


def test_the_command_prints_a_table_or_json(run: Path) -> None:
    note_failure(run, "c2-rus", Failure("the loss is nan."))
    table = CliRunner().invoke(command, [str(run)])
    assert table.exit_code == 0
    assert "c2-rus failed: the loss is nan." in table.output
    value = json.loads(CliRunner().invoke(command, [str(run), "--json"]).output)
    assert value["phase"] == "stopped"
    assert [m["state"] for m in value["models"]] == ["done", "pending", "failed", "pending"]


def test_no_run_no_status(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no xelm run"):
        run_status(tmp_path)


def test_a_finished_run_is_done(tmp_path: Path, tiny_recipe: Callable[..., Recipe]) -> None:
    train(tiny_recipe(), tmp_path / "run", report=False)
    status = run_status(tmp_path / "run")
    assert status.phase == "done"
    assert {m.state for m in status.models} == {"done"}
    base = status.models[0]
    assert base.step == base.num_steps == 10
    assert base.checkpoint_step is None
