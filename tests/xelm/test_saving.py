"""Checkpoints are written while the training goes on: the same files, one at a time, and none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli_w
import torch

from tests.xelm.conftest import tiny_table
from tests.xelm.training_parts import same_bits, stage_of, tiny_llama, weights_of
from xelm.training.checkpoint import Progress, save_checkpoint
from xelm.training.loop import step_for_step, train_stage
from xelm.training.saving.copies import State, state_of
from xelm.training.saving.free_memory import free_bytes, left_in_groups

_LONG_S = 60.0
_WRITER = "xelm.training.saving.writer"
_NAMES = ("weights.safetensors", "optimizer.safetensors", "state.json")


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _checkpoints(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


class _Slow:
    """Writes as `save_checkpoint` does, once it may."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.may, self.begun, self.at_work, self.most = threading.Event(), list[int](), 0, 0
        self._real = save_checkpoint
        patched.setattr(f"{_WRITER}.save_checkpoint", self._save)

    def _save(self, folder: Path, state: Any) -> None:
        self.begun.append(state.progress["step"])
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        assert self.may.wait(_LONG_S)
        self._real(folder, state)
        self.at_work -= 1


def test_steps_are_taken_while_a_checkpoint_is_written_and_it_holds_what_was_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, background = stage_of(tmp_path / "a"), stage_of(tmp_path / "b")
    with monkeypatch.context() as patched:
        patched.setattr("xelm.training.saving.copies.free_bytes", lambda: 0)
        waiting = step_for_step(tiny_llama(), plain)
        for _ in range(5):
            next(waiting)
        expected = _files(plain.checkpoints)
        waiting.close()

    with monkeypatch.context() as patched:
        slow = _Slow(patched)
        model = tiny_llama()
        steps = step_for_step(model, background)
        for _ in range(9):  # four more than the checkpoint
            next(steps)
        assert _checkpoints(background.checkpoints) == []
        slow.may.set()
        steps.close()
    assert _files(background.checkpoints) == expected
    assert set(expected) == {f"step-00000005/{name}" for name in _NAMES}


def test_one_is_written_at_a_time_and_the_last_is_whole_when_the_training_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _Slow(monkeypatch)
    stage = stage_of(tmp_path, checkpoint_every_steps=1, keep_checkpoints=2)
    timer = threading.Timer(0.3, slow.may.set)
    timer.start()
    train_stage(tiny_llama(), stage, lambda _: None)
    assert slow.begun == list(range(1, 12)) and slow.most == 1
    assert _checkpoints(stage.checkpoints) == ["step-00000010", "step-00000011"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_what_ends_a_training_waits_for_the_checkpoint_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    slow = _Slow(monkeypatch)

    def log(point: dict[str, Any]) -> None:
        if point["step"] == 7:
            threading.Timer(0.2, slow.may.set).start()
            raise stop

    stage = stage_of(tmp_path / "b")
    with pytest.raises(stop):
        train_stage(tiny_llama(), stage, log)
    assert _checkpoints(stage.checkpoints) == ["step-00000005"]
    undisturbed, resumed = tiny_llama(), tiny_llama()
    train_stage(undisturbed, stage_of(tmp_path / "a"), lambda _: None)
    train_stage(resumed, stage, lambda _: None)
    assert same_bits(weights_of(resumed), weights_of(undisturbed))


def test_a_write_that_fails_stops_the_training_before_its_next_checkpoint_and_the_one_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def save(folder: Path, state: Any) -> None:
        if state.progress["step"] == 10:
            failed.set()
            raise OSError(28, "No space left on device")
        save_checkpoint(folder, state)

    monkeypatch.setattr(f"{_WRITER}.save_checkpoint", save)
    stage, last = stage_of(tmp_path, num_steps=100), [0]

    def log(point: dict[str, Any]) -> None:
        last[0] = point["step"]

    with pytest.raises(OSError, match="No space left on device"):
        train_stage(tiny_llama(), stage, log)
    assert failed.is_set() and 10 <= last[0] <= 15
    assert _checkpoints(stage.checkpoints) == ["step-00000005"]


def test_a_write_that_fails_after_another_error_is_told_and_hides_it_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slow = _Slow(monkeypatch)
    monkeypatch.setattr(slow, "_real", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    def log(point: dict[str, Any]) -> None:
        if point["step"] == 7:
            slow.may.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(tiny_llama(), stage_of(tmp_path), log)
    assert "test: the last checkpoint was not written: OSError: [Errno 28] No space left on device." in caplog.text


def test_without_room_for_a_copy_the_training_waits_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("xelm.training.saving.copies.free_bytes", lambda: 1000)
    stage = stage_of(tmp_path)
    states: list[bool] = []

    def seen_state(*arguments: Any) -> State | None:
        state = state_of(*arguments)
        assert state is not None
        states.append(state.apart)
        return state

    monkeypatch.setattr(f"{_WRITER}.state_of", seen_state)
    steps, seen = step_for_step(tiny_llama(), stage), []
    with caplog.at_level("INFO", logger="xelm"):
        for _ in steps:
            seen.append(_checkpoints(stage.checkpoints))
    assert states == [False, False]
    assert seen[4] == ["step-00000005"] and seen[9] == ["step-00000010"], "whole before the next step"
    assert caplog.text.count("main memory has no room for a copy of its checkpoints") == 1


def test_a_copy_is_apart_from_the_weights(tmp_path: Path) -> None:
    model = tiny_llama()
    optimizer = torch.optim.AdamW(model.parameters())
    state = state_of(model, optimizer, Progress(step=3))
    assert state is not None and state.apart
    before = weights_of(model)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert same_bits(state.weights, before)


def test_free_memory_is_that_of_the_machine_or_of_the_tightest_group(tmp_path: Path) -> None:
    assert 0 < free_bytes() <= psutil.virtual_memory().total
    inner = tmp_path / "slurm" / "job_1"
    inner.mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/slurm/job_1\n")
    (inner / "memory.max").write_text("max\n")
    assert list(left_in_groups(tmp_path, own)) == [], "no limit"
    (tmp_path / "slurm" / "memory.max").write_text("1000\n")
    (tmp_path / "slurm" / "memory.current").write_text("900\n")
    (tmp_path / "slurm" / "memory.stat").write_text("anon 600\ninactive_file 250\nactive_file 50\n")
    assert list(left_in_groups(tmp_path, own)) == [350]
    older = tmp_path / "memory" / "box"
    older.mkdir(parents=True)
    own.write_text("7:pids:/box\n4:memory:/box\n")
    (older / "memory.limit_in_bytes").write_text("5000\n")
    (older / "memory.usage_in_bytes").write_text("4000\n")
    assert list(left_in_groups(tmp_path, own)) == [1000]
    assert list(left_in_groups(tmp_path, tmp_path / "none")) == [], "no Linux"


_KILLED = """
import sys, time
import xelm.training.saving.writer as writer
real = writer.save_checkpoint
def slow(folder, state):
    print("writing", state.progress["step"], flush=True)
    time.sleep(1.5)
    real(folder, state)
writer.save_checkpoint = slow
{start}
"""
_STARTS = {
    "command": "from xelm.cli import main; main()",
    "worker": "from xelm.launch.worker import main; sys.exit(main(sys.argv[1:]))",
}


@pytest.fixture
def recipe(tmp_path: Path, corpus: Path) -> Path:
    """A recipe whose base trains for many thousands of steps."""
    table = tiny_table(data={"path": str(corpus)}, train={"checkpoint_every_steps": 10})
    table["base"]["new"] = {**table["base"]["new"], "tokens": 500_000}  # not in place: other tests share it
    file = tmp_path / "recipe.toml"
    file.write_text(tomli_w.dumps(table), encoding="utf-8")
    return file


@pytest.mark.parametrize("way", _STARTS)
def test_sigterm_ends_a_training_when_the_checkpoint_is_whole(tmp_path: Path, recipe: Path, way: str) -> None:
    run = tmp_path / "run"
    if way == "worker":
        from xelm.launch.work import Work
        from xelm.recipe.recipe import Recipe

        arguments = [str(Work(run, Recipe.load(recipe), redo=False, report=False).write()), "base"]
    else:
        arguments = ["--quiet", "train", str(recipe), "--out", str(run)]
    program = [sys.executable, "-c", _KILLED.format(start=_STARTS[way]), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"writing 10\n", process.stderr.read().decode()
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=_LONG_S)[1].decode()
    assert process.returncode == 143, errors
    if way == "command":
        assert errors == "stopped. What was finished is kept: the same command continues.\n"
    assert [p.name for p in (run / "work").glob("base-*/*")] == ["step-00000010"]
