"""Names from a run's files: only paths inside the run come of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clustering.errors import BadInput
from xelm.run.lock import locked
from xelm.run.paths import inside, plain_name


@pytest.mark.parametrize("name", ["a", "c1-deu-nld", "модель", "two words", "a.v1"])
def test_a_plain_name_stays(name: str) -> None:
    assert plain_name(name, "here") == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "/a", "a\0b", "a\nb", "x" * 300, None, 3, ["a"], "\ud800"]
)
def test_what_is_no_plain_name_is_refused_with_the_place_where_it_stood(name: Any) -> None:
    with pytest.raises(BadInput, match=r"^xelm\.json, ledger: .* is no "):
        plain_name(name, "xelm.json, ledger")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../b", "a/..", "a//b", "./a", "a/", "a/.b", "", "a/b\0", None, 1, {}]
)
def test_what_is_no_path_inside_is_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(BadInput, match=r"^xelm\.json: "):
        inside(tmp_path, name, "xelm.json")


def test_a_path_inside_need_not_exist(tmp_path: Path) -> None:
    assert inside(tmp_path, "experts/a/b.json", "here") == tmp_path / "experts" / "a" / "b.json"


def test_a_link_that_leads_out_is_refused_and_one_that_stays_inside_is_not(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "base").mkdir(parents=True)
    (run / "dense").symlink_to("base")
    (run / "router").symlink_to(tmp_path)
    (run / "plan.json").symlink_to("/etc/passwd")
    (run / "loop").symlink_to("loop")
    assert inside(run, "dense/model", "here") == run / "dense" / "model"
    for name in ("router", "router/x", "plan.json"):
        with pytest.raises(BadInput, match="leads out of the run"):
            inside(run, name, "here")
    with pytest.raises(BadInput, match="leads"):
        inside(run, "loop", "here")


def test_a_snapshot_of_the_hub_is_links_to_its_blobs(tmp_path: Path) -> None:
    blobs, run = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "1234"
    blobs.mkdir(parents=True)
    run.mkdir(parents=True)
    (blobs / "55").write_text("plan")
    (run / "plan.json").symlink_to("../../blobs/55")
    assert inside(run, "plan.json", "here").read_text() == "plan"
    (run / "xelm.json").symlink_to("../../refs")
    with pytest.raises(BadInput, match="leads out of the run"):
        inside(run, "xelm.json", "here")


def test_a_run_with_a_link_out_of_it_is_not_changed(tmp_path: Path) -> None:
    run, victim = tmp_path / "run", tmp_path / "victim"
    run.mkdir()
    victim.mkdir()
    (victim / ".partial-x").touch()
    (run / "work").symlink_to(victim)
    with pytest.raises(BadInput, match="work: is a link that leads out of the run"), locked(run):
        pass
    assert [p.name for p in victim.iterdir()] == [".partial-x"]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_lock_that_is_no_file_is_neither_written_nor_waited_for(tmp_path: Path, kind: str) -> None:
    run, victim = tmp_path / "run", tmp_path / "victim"
    run.mkdir()
    victim.write_text("dear")
    if kind == "link":
        (run / ".lock").symlink_to(victim)
    else:
        os.mkfifo(run / ".lock")
    with pytest.raises(BadInput, match=r"cannot be written to|no regular file"), locked(run):
        pass
    assert victim.read_text() == "dear"
