"""A full disk and a read-only one: one clear message, and the last good checkpoint goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from tests.xelm.stored_runs import unpack
from xelm.adding.add import add_language
from xelm.making.train import train
from xelm.recipe.recipe import Recipe
from xelm.run.failures import disk_failure, disk_failure_reported
from xelm.run.records.manifest import kept_files
from xelm.training.checkpoint import save_checkpoint

MakeRecipe = Callable[..., Recipe]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),
        OSError(30, "Read-only file system"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_or_read_only_disk_is_known_whoever_met_it(error: Exception) -> None:
    with (
        pytest.raises(OSError, match=r"^runs/a: .*run the same command again to resume\.$"),
        disk_failure_reported(Path("runs/a")),
    ):
        raise error


@pytest.mark.parametrize("error", [OSError(2, "No such file"), ValueError("28"), RuntimeError("error 28")], ids=str)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert disk_failure(error) is None
    with pytest.raises(type(error)) as caught, disk_failure_reported(Path("runs/a")):
        raise error
    assert caught.value is error


def test_a_disk_that_fills_up_stops_the_run_and_leaves_a_checkpoint_to_go_on_from(
    tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, saved = save_checkpoint, list[int]()

    def save(folder: Path, state: Any) -> None:
        if len(saved) == 2:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        saved.append(state.progress["step"])
        real(folder, state)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space left on device"):
        patched.setattr("xelm.training.saving.writer.save_checkpoint", save)
        train(tiny_recipe(), tmp_path / "run", report=False)
    left = [p.name for p in (tmp_path / "run" / "work").glob("base-*/step-*")]
    assert left == [f"step-{saved[-1]:08d}"]
    train(tiny_recipe(), tmp_path / "run", report=False)
    train(tiny_recipe(), tmp_path / "undisturbed", report=False)
    assert _contents(tmp_path / "run") == _contents(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        pytest.param(OSError(30, "Read-only file system"), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_an_addition_that_a_full_disk_stops_after_its_training_keeps_the_work_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    stored = unpack(tmp_path)
    run, text = stored / "first", stored / "new" / "swe.jsonl"
    before = _contents(run)

    def full(*_arguments: Any, **_options: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("xelm.evaluation.learned.evaluate", full)
        with pytest.raises(OSError, match=r"What was finished is kept.*run the same command again to resume\.$"):
            add_language(run, "swe", text, donor="base", tokens=256)
    assert _contents(run) == before
    [made] = (run / "work").glob("add-swe-*/expert/model.safetensors")
    assert made.stat().st_size
    with monkeypatch.context() as patched:
        patched.setattr("xelm.making.make_model.train_stage", full)  # nothing is trained a second time
        grown = add_language(run, "swe", text, donor="base", tokens=256)
    assert grown.verify() == []
    assert not (run / "work").exists()
    undisturbed = unpack(tmp_path / "undisturbed") / "first"
    add_language(undisturbed, "swe", text, donor="base", tokens=256)
    assert _contents(run) == _contents(undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB; root only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no small disk to be had here: {made.stderr.decode().strip()}")
    yield folder
    # Lazily: the token stores of the run are still mapped into this process.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("room_kib", [0, 40, 160, 320, 480])
def test_a_disk_really_full(tmp_path: Path, small_disk: Path, tiny_recipe: MakeRecipe, room_kib: int) -> None:
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"\0" * (free.f_bavail * free.f_frsize - room_kib * 1024))
    run = small_disk / "run"
    with pytest.raises(OSError, match=r"no space left on device. What was finished is kept") as caught:
        train(tiny_recipe(), run)
    assert "\n" not in str(caught.value)
    assert not list(run.rglob(".partial-*")), "nothing half written is left"
    (small_disk / "filler").unlink()
    train(tiny_recipe(), run)
    train(tiny_recipe(), tmp_path / "undisturbed")
    assert _contents(run) == _contents(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_run_on_a_read_only_disk_is_refused_by_the_command_and_stays_readable(
    small_disk: Path, tiny_recipe: MakeRecipe, tmp_path: Path
) -> None:
    import xelm

    run = small_disk / "run"
    recipe = tiny_recipe()
    train(recipe, run, report=False)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    file = tmp_path / "recipe.toml"
    new = "".join(f"{key} = {value!r}\n" for key, value in vars(recipe.base.new).items() if value is not None)
    train_keys = "tokens = 1536\nbatch_size = 4\nlearning_rate = 2e-3\ncheckpoint_every_steps = 2\n"
    file.write_text(f"[base.new]\n{new}\n[data]\npath = {recipe.data.path!r}\n[clusters]\nk = 2\n[train]\n{train_keys}")
    done = subprocess.run(
        [sys.executable, "-m", "xelm", "train", str(file), "--out", str(run)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: {run}: cannot be written to (Read-only file system)."
    assert xelm.ExpertSet.load(run).verify() == []


def _contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in [*kept_files(run), "xelm.json"]}
