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
from clustering.files import write_json, write_text
from xelm.run.experts import ExpertSet
from xelm.run.lock import locked
from xelm.run.records.manifest import FILE_NAME, Manifest, kept_files
from xelm.run.transaction import current, edited, is_decided, recover
from xelm.run.verify import verify

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
        # What pathlib and shutil come down to, so that a folder may also be found half removed.
        for name in ("replace", "rename", "link", "unlink", "rmdir", "mkdir"):
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if self.dead:
                raise Died
            self.calls += 1
            now = self.calls - 1 == self.at
            if now and self.how != "interrupt after":
                self.dead = self.how == "kill"
                raise Died
            try:
                return real(*args, **options)
            finally:
                if now:
                    raise Died

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
    """What a reader finds: every file that the manifest names, where it is to be read now, and the manifest."""
    return {FILE_NAME: (run / FILE_NAME).read_text(encoding="utf-8")} | {
        name: current(run, name).read_text(encoding="utf-8") for name in sorted(Manifest.read(run).files)
    }


def _on_disk(run: Path) -> dict[str, bytes]:
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


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
def test_dying_at_any_point_leaves_readers_the_old_run_or_the_new_one_and_never_a_mix(
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
        left = _on_disk(run)
        state = _state(run)
        assert state in (before, after), f"a mix after {how} at call {at}"
        assert verify(run) == [], f"after {how} at call {at}"
        assert _on_disk(run) == left, "a reader writes nothing"
        found.append(state == after)
        with locked(run):
            pass
        assert _state(run) == state, f"recovery kept what readers saw after {how} at call {at}"
        assert sorted(kept_files(run)) == sorted(state.keys() - {FILE_NAME})
        assert not (run / "next").exists()
        assert not (run / "work").exists()
        if reaper.calls <= at:
            break
        at += 1
    assert found[0] is False
    assert found[-1] is True
    assert found == sorted(found), "once new, always new"
    assert at > 30, "there are many points to die at"


def test_recovery_itself_may_die_and_be_repeated(tmp_path: Path, states: tuple[State, State]) -> None:
    for at in range(40):
        run = _killed_after_the_switch(tmp_path / f"run-{at}")
        for _ in range(2):
            with pytest.MonkeyPatch.context() as monkeypatch:
                Reaper(monkeypatch, at, "kill")
                with suppress(Died):
                    recover(run)
            assert _state(run) == states[1]
        recover(run)
        assert _state(run) == states[1]
        assert verify(run) == []


def _killed_after_the_switch(folder: Path) -> Path:
    run = _make_run(folder)
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Died):
        monkeypatch.setattr("xelm.run.transaction.recover", lambda run: _die() if is_decided(run) else None)
        _change(run)
    return run


def _die() -> None:
    raise Died


def test_an_error_in_the_change_leaves_the_run_as_it_was(tmp_path: Path, states: tuple[State, State]) -> None:
    run = _make_run(tmp_path / "run")
    with pytest.raises(KeyError), edited(run) as shadow:
        write_text(shadow / "plan.json", "half")
        raise KeyError
    assert _state(run) == states[0]
    recover(run)
    assert _state(run) == states[0]


def test_a_reader_finds_the_new_run_where_it_was_killed_after_the_switch_and_completes_nothing(
    tmp_path: Path, states: tuple[State, State]
) -> None:
    run = _killed_after_the_switch(tmp_path / "run")
    left = _on_disk(run)
    assert "next/plan.json" in left
    with pytest.raises(BadInput, match=r"next.plan\.json"):  # what stands for the plan here is none
        ExpertSet.load(run)
    assert _on_disk(run) == left


def test_the_next_change_completes_a_killed_one_first(tmp_path: Path, states: tuple[State, State]) -> None:
    run = _killed_after_the_switch(tmp_path / "run")
    with locked(run), edited(run) as shadow:
        assert _state(shadow) == states[1]
    assert _state(run) == states[1]
    assert not (run / "next").exists()


def test_what_lies_under_next_without_the_run_s_own_manifest_is_not_read(
    tmp_path: Path, states: tuple[State, State]
) -> None:
    run = _make_run(tmp_path / "run")
    write_text(run / "next" / "plan.json", "planted")
    assert _state(run) == states[0]
    write_text(run / "next" / FILE_NAME, "{}")
    assert _state(run) == states[0]
    assert verify(run) == []
    recover(run)
    assert not (run / "next").exists()
    assert _state(run) == states[0]


def test_what_lies_under_next_is_held_against_the_checksums(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    write_text(run / "next" / "plan.json", "planted")
    shutil.copyfile(run / FILE_NAME, run / "next" / FILE_NAME)
    assert verify(run) == ["changed: plan.json"]


@pytest.mark.parametrize("name", ["../victim", "/etc/passwd", "a/../../victim", "", 3, None, "experts/./a"])
def test_no_name_under_next_removes_anything_outside(tmp_path: Path, name: Any) -> None:
    run = _make_run(tmp_path / "run")
    write_text(tmp_path / "victim", "dear")
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy").rename(run / "next")
    write_json(run / "next" / "leaving.json", [name])
    with pytest.raises(BadInput, match=r"leaving\.json"):
        recover(run)
    assert (tmp_path / "victim").read_text() == "dear"


def test_a_change_that_an_earlier_version_left_half_way_is_told_and_not_carried_out(tmp_path: Path) -> None:
    run = _make_run(tmp_path / "run")
    write_text(tmp_path / "victim", "dear")
    write_json(run / "work" / "journal.json", {"replace": [], "remove": ["../victim"]})
    assert verify(run) == []
    with pytest.raises(BadInput, match=r"journal\.json: a change by an earlier version"), locked(run):
        pass
    assert (tmp_path / "victim").exists()


def test_it_works_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: tuple[State, State]
) -> None:
    def refuse(*_args: Any) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    run = _make_run(tmp_path / "run")
    _change(run)
    assert _state(run) == states[1]


def test_a_pipe_in_place_of_a_manifest_keeps_nobody_waiting(tmp_path: Path) -> None:
    import os

    from xelm.run.transaction import NEXT, is_decided

    (tmp_path / NEXT).mkdir()
    os.mkfifo(tmp_path / NEXT / FILE_NAME)
    (tmp_path / FILE_NAME).write_bytes(b"{}")
    assert not is_decided(tmp_path)
