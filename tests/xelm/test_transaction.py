"""A run changes all at once or not at all, whenever the process dies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clustering.errors import BadInput
from clustering.files import write_text
from xelm.run.experts import ExpertSet
from xelm.run.lock import locked
from xelm.run.manifest import FILE_NAME, Manifest, kept_files, verify
from xelm.run.transaction import edited, recover

State = dict[str, str]


class Died(BaseException):
    """The process ends here."""


class Reaper:
    """Ends the process at one of the calls that change the file system.

    `kill`: nothing runs after it, as with SIGKILL. `interrupt`: handlers clean up, as with Ctrl-C, which may fall just
    before a call or just after it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None, how: str):
        self.at, self.how, self.calls, self.dead = at, how, 0, False
        for owner, name in ((os, "replace"), (os, "link"), (Path, "unlink"), (Path, "rmdir"), (shutil, "rmtree")):
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if self.dead:
                raise Died
            self.calls += 1
            now = self.calls - 1 == self.at
            if now and self.how != "interrupt after":
                self.dead = self.how == "kill"
                raise Died
            result = real(*args, **options)
            if now:
                raise Died
            return result

        return call


def _make_run(folder: Path) -> Path:
    for name in ("plan.json", "base/weights", "experts/a/weights", "experts/b/weights", "eval/test.json"):
        write_text(folder / name, f"old {name}")
    manifest = Manifest({})
    manifest.refresh_files(folder)
    manifest.write(folder)
    return folder


def _change(run: Path) -> None:
    """One file replaced, a folder removed, a folder added, the rest as it is."""
    with edited(run) as shadow:
        write_text(shadow / "plan.json", "new plan")
        shutil.rmtree(shadow / "experts" / "b")
        write_text(shadow / "experts" / "c" / "weights", "new expert")
        manifest = Manifest.read(shadow)
        manifest.refresh_files(shadow)
        manifest.write(shadow)


def _state(run: Path) -> State:
    return {name: (run / name).read_text(encoding="utf-8") for name in (*kept_files(run), FILE_NAME)}


@pytest.fixture
def states(tmp_path: Path) -> tuple[State, State]:
    """The run before and after the change."""
    run = _make_run(tmp_path / "undisturbed")
    before = _state(run)
    _change(run)
    return before, _state(run)


def test_a_change_is_made_and_leaves_nothing_beside_it(tmp_path: Path, states: tuple[State, State]) -> None:
    before, after = states
    run = tmp_path / "undisturbed"
    assert sorted(after) == sorted({*before, "experts/c/weights"} - {"experts/b/weights"})
    assert after["plan.json"] == "new plan"
    assert verify(run) == []
    assert not (run / "work").exists()
    assert not (run / "experts" / "b").exists()


def test_files_that_stay_are_not_touched(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    before = (run / "base" / "weights").stat()
    _change(run)
    after = (run / "base" / "weights").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("how", ["kill", "interrupt", "interrupt after"])
def test_dying_at_any_point_leaves_the_old_run_or_the_new_one_and_never_a_mix(
    tmp_path: Path, states: tuple[State, State], how: str
) -> None:
    before, after = states
    found, at = [], 0
    while True:
        run = _make_run(tmp_path / f"run-{at}")
        with pytest.MonkeyPatch.context() as monkeypatch:
            reaper = Reaper(monkeypatch, at, how)
            with suppress(Died):
                _change(run)
        recover(run)
        state = _state(run)
        assert state in (before, after), f"a mix after {how} at call {at}"
        assert verify(run) == []
        found.append(state == after)
        if reaper.calls <= at:
            break
        at += 1
    assert found[0] is False
    assert found[-1] is True
    assert found == sorted(found), "once new, always new"
    assert at > 10, "there are many points to die at"


def test_recovery_itself_may_die_and_be_repeated(tmp_path: Path, states: tuple[State, State]) -> None:
    for at in range(12):
        run = _make_run(tmp_path / f"run-{at}")
        with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Died):
            monkeypatch.setattr("xelm.run.transaction.recover", lambda run: _die() if _journal(run) else None)
            _change(run)
        for _ in range(2):
            with pytest.MonkeyPatch.context() as monkeypatch:
                Reaper(monkeypatch, at, "kill")
                with suppress(Died):
                    recover(run)
        recover(run)
        assert _state(run) == states[1]


def _die() -> None:
    raise Died


def _journal(run: Path) -> bool:
    return (run / "work" / "journal.json").exists()


def test_an_error_in_the_change_leaves_the_run_as_it_was(tmp_path: Path, states: tuple[State, State]) -> None:
    run = _make_run(tmp_path / "run")
    with pytest.raises(KeyError), edited(run) as shadow:
        write_text(shadow / "plan.json", "half")
        raise KeyError
    assert _state(run) == states[0]
    recover(run)
    assert _state(run) == states[0]


@pytest.mark.parametrize("reader", ["locked", "ExpertSet.load"])
def test_the_next_reader_of_the_run_completes_a_killed_change(
    tmp_path: Path, states: tuple[State, State], reader: str
) -> None:
    run = _make_run(tmp_path / "run")
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Died):
        monkeypatch.setattr("xelm.run.transaction.recover", lambda run: _die() if _journal(run) else None)
        _change(run)
    if reader == "locked":
        with locked(run):
            assert _state(run) == states[1]
    else:
        with suppress(BadInput):  # what stands for the plan here is none
            ExpertSet.load(run)
    assert _state(run) == states[1]


def test_a_change_begun_after_a_killed_one_completes_that_first(tmp_path: Path, states: tuple[State, State]) -> None:
    run = _make_run(tmp_path / "run")
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Died):
        monkeypatch.setattr("xelm.run.transaction.recover", lambda run: _die() if _journal(run) else None)
        _change(run)
    with edited(run) as shadow:
        assert _state(shadow) == states[1]
    assert _state(run) == states[1]


def test_it_works_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: tuple[State, State]
) -> None:
    def refuse(*_args: Any) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    run = _make_run(tmp_path / "run")
    _change(run)
    assert _state(run) == states[1]
