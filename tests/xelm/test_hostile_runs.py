"""A run may come from anybody: whatever its files hold, nothing outside it moves, and what cannot be used is told.

Each example changes one thing in one file of a small real run (`tests.xelm.hostile`) beside a tree of canaries, then
calls commands on it: they succeed, or refuse in one sentence. Readers leave the run as it was, to the byte.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xelm.cli
from clustering.errors import BadInput
from tests.xelm import hostile
from tests.xelm.adding import new_text
from tests.xelm.hostile import SHAPES, VALUES, Change
from tests.xelm.stored_runs import unpack
from xelm.inference.routed import RoutedLM
from xelm.making.train import rewrite_report
from xelm.run.experts import ExpertSet
from xelm.run.failures import TrainingFailedError

_ON_CPU = ("--device", "cpu")
READERS: dict[str, tuple[str, ...]] = {
    "info": (),
    "verify": (),
    "status": (),
    "route": ("Guten Morgen",),
    "generate": ("Guten Morgen", "--max-new-tokens", "1", *_ON_CPU),
    "score": ("Guten", *_ON_CPU),
}
WRITERS = ("report", "remove", "add", "train", "eval", "blend", "export")
RUNS = ("grown", "today", "lora")
TOLD = (BadInput, click.ClickException, TrainingFailedError, SystemExit)


class Scene:
    """The runs (`RUNS`), their files, and the canaries."""

    def __init__(self, folder: Path):
        self.folder = unpack(folder)
        self.run = folder / "grown"
        hostile.grow_today(folder / "first", folder / "today", folder / "new" / "swe.jsonl")
        hostile.train_adapters(folder)
        self.new = new_text(folder, "pol", 30)
        self.files = list[tuple[str, str]]()
        for name in RUNS:
            hostile.plant(folder / name)
            self.files += [(name, path) for path in hostile.files_of(folder / name)]
        self._numbers = itertools.count()
        self.before = self.hashes()

    def hashes(self) -> dict[str, dict[str, str]]:
        """Every file of every run."""
        return {name: hostile.hashes(self.folder / name) for name in RUNS}

    def make(self, change: Change, of: str = "grown") -> tuple[Path, Path]:
        """A changed copy of a run, and the canaries beside it."""
        place = self.folder / f"try-{next(self._numbers)}"
        victim = place / "victim"
        (victim / "deep").mkdir(parents=True)
        for name in ("dear.txt", "deep/dear.txt"):
            (victim / name).write_text("dear")
        hostile.make(self.folder / of, place / "run", change, victim)
        return place / "run", victim

    def call(self, run: Path, name: str, *, refused: bool = True) -> None:
        """A command on a copy: it succeeds, or (if it may be refused) tells in a sentence why not."""
        arguments: dict[str, tuple[Any, ...]] = {
            "remove": ("swe", "--run", run),
            "add": ("pol", "--data", self.new, "--run", run, "--tokens", 128, "--donor", "base"),
            "train": (self.folder / "recipe.toml", "--out", run),
            "blend": (run, "--keep", 0.5),
            "export": (run, "base", "--out", run / "work" / "exported"),
        }
        words = [name, *arguments.get(name, (run, *READERS.get(name, ())))]
        result = CliRunner().invoke(xelm.cli.group, [str(word) for word in words], standalone_mode=False)
        if result.exception and not (refused and isinstance(result.exception, TOLD)):
            raise result.exception
        if isinstance(result.exception, BadInput):
            assert "\n" not in str(result.exception)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("hostile"))


@st.composite
def changes(draw: st.DrawFn, files: list[tuple[str, str]]) -> tuple[str, Change]:
    """A run's name, and what is wrong with it."""
    how = draw(st.sampled_from(["set", "set", "set", "set", "drop", "add", "rename", "shape"]))
    run, file = draw(st.sampled_from(files))
    return run, Change(
        file,
        draw(st.integers(0, 10**6)),
        draw(st.sampled_from(VALUES)),
        draw(st.sampled_from(SHAPES)) if how == "shape" else how,
        draw(st.booleans()),
    )


def _holds(scene: Scene, of: str, change: Change, readers: list[str], writer: str | None) -> None:
    run, victim = scene.make(change, of)
    canaries, there = hostile.hashes(victim), hostile.hashes(run)
    try:
        for name in readers:
            scene.call(run, name)
        assert hostile.hashes(run) == there, f"{readers} wrote in the run"
        if writer:
            scene.call(run, writer)
        assert hostile.hashes(victim) == canaries, "something outside the run moved"
        assert sorted(p.name for p in run.parent.iterdir()) == ["run", "victim"]
    finally:
        shutil.rmtree(run.parent)


def _examples(number: int, share_of_writers: int) -> Callable[[Scene], None]:
    @settings(max_examples=number, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        scene = _SCENE[0]
        of, change = data.draw(changes(scene.files))
        readers = data.draw(st.lists(st.sampled_from(list(READERS)), min_size=1, max_size=1))
        writes = data.draw(st.integers(0, share_of_writers - 1)) == 0
        _holds(scene, of, change, readers, data.draw(st.sampled_from(WRITERS)) if writes else None)

    def run(scene: Scene) -> None:
        _SCENE[:] = [scene]
        check()

    return run


_SCENE: list[Scene] = []


def test_nothing_outside_moves_and_what_cannot_be_used_is_told(scene: Scene) -> None:
    _examples(200, share_of_writers=20)(scene)
    assert scene.hashes() == scene.before, "no file is ever changed in place, which links to the run show"


@pytest.mark.slow
def test_nothing_outside_moves_in_many_more_examples(scene: Scene) -> None:
    _examples(2000, share_of_writers=4)(scene)
    assert scene.hashes() == scene.before


@pytest.mark.parametrize("of", RUNS)
def test_the_runs_themselves_pass_every_command(scene: Scene, of: str) -> None:
    untouched = Change("report.html", 0, None, "set", False)
    run, _ = scene.make(untouched, of)
    (run / "report.html").write_bytes((scene.folder / of / "report.html").read_bytes())
    for name in (*READERS, "report", "export", "blend", "remove"):
        scene.call(run, name, refused=False)
    assert ExpertSet.load(run).verify() == []


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("ledger", "expert", "../../../../victim"),
        ("ledger", "language", "../victim"),
        ("ledger", "donor", "/victim"),
        ("experts", "../victim", None),
        ("files", "../victim/dear.txt", "0" * 64),
        ("data", "../victim", None),
    ],
)
@pytest.mark.parametrize("command", ["verify", "remove", "route", "info"])
def test_names_in_the_manifest_that_lead_out_are_refused_by_everybody(
    scene: Scene, tmp_path: Path, file: str, key: str, value: str | None, command: str
) -> None:
    import json

    run = Path(shutil.copytree(scene.run, tmp_path / "run"))
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "dear.txt").write_text("dear")
    manifest = json.loads((run / "xelm.json").read_text())
    if file == "ledger":
        manifest["ledger"][0][key] = value
    else:
        manifest[file][key] = value or next(iter(manifest[file].values()))
    (run / "xelm.json").write_text(json.dumps(manifest))
    words = ["remove", "swe", "--run", str(run)] if command == "remove" else [command, str(run)]
    result = CliRunner().invoke(xelm.cli.group, [*words, *(["x"] * (command == "route"))], standalone_mode=False)
    assert isinstance(result.exception, BadInput), result.exception
    assert (tmp_path / "victim" / "dear.txt").read_text() == "dear"


def _redirected(run: Path, victim: Path, how: str) -> None:
    """Lead the loading of the base out of the run; what stands there is a whole model."""
    import json

    base = run / "base"
    shutil.copytree(base, victim)
    if how == "index":
        index = json.loads((base / "model.safetensors.index.json").read_text())
        part = min(index["weight_map"].values())
        (base / part).unlink()
        index["weight_map"] = {k: f"../../victim/{v}" if v == part else v for k, v in index["weight_map"].items()}
        (base / "model.safetensors.index.json").write_text(json.dumps(index))
    elif how == "adapter":
        adapter = {"base_model_name_or_path": str(victim), "peft_type": "LORA"}
        (base / "adapter_config.json").write_text(json.dumps(adapter))
    elif how == "link":
        (base / "config.json").unlink()
        (base / "config.json").symlink_to(victim / "config.json")
    else:
        table = json.loads((base / "tokenizer_config.json").read_text())
        (base / "tokenizer_config.json").write_text(json.dumps(table | {how: str(victim / "tokenizer.json")}))


@pytest.mark.parametrize("how", ["index", "adapter", "link", "tokenizer_file", "vocab_file"])
def test_no_model_or_tokenizer_is_read_from_outside(scene: Scene, tmp_path: Path, how: str) -> None:
    run, victim = Path(shutil.copytree(scene.folder / "today", tmp_path / "run")), tmp_path / "victim"
    _redirected(run, victim, how)
    with pytest.raises(
        BadInput, match=r"is no path inside|is no name for|names a base of its own|leads out of the run"
    ):
        ExpertSet.load(run).tokenizer()
        ExpertSet.load(run).load_model("base")


def test_a_message_names_the_run_s_own_file(scene: Scene, tmp_path: Path) -> None:
    run = Path(shutil.copytree(scene.run, tmp_path / "run"))
    (run / "eval" / "valid.json").write_text("[" * 200_000)
    with pytest.raises(BadInput, match=rf"^{run}/eval/valid\.json: not valid JSON \(nested too deeply\)"):
        rewrite_report(run)


@pytest.mark.parametrize(
    "planted",
    [
        {"replace": [], "remove": ["../victim/dear.txt"]},
        {"replace": [], "remove": ["{victim}/dear.txt", "{victim}"]},
        {"replace": ["../planted"]},
        {"replace": ["{victim}/dear.txt", "../planted"], "remove": []},
    ],
    ids=str,
)
def test_a_journal_in_work_is_not_believed(scene: Scene, tmp_path: Path, planted: dict[str, Any]) -> None:
    import json

    run = Path(shutil.copytree(scene.run, tmp_path / "run"))
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "dear.txt").write_text("dear")
    (run / "work" / "shadow").mkdir(parents=True)
    (run / "work" / "shadow" / "planted").write_text("planted")
    (run / "work" / "journal.json").write_text(json.dumps(planted).replace("{victim}", str(tmp_path / "victim")))
    before = hostile.hashes(tmp_path)
    assert RoutedLM.from_pretrained(run, device="cpu").route(["Guten Morgen"])[0].language
    scene.call(run, "info")
    scene.call(run, "remove")
    assert hostile.hashes(tmp_path) == before | {"run/.lock": hostile.hashes(run)[".lock"]}


@pytest.mark.parametrize("jobs", [{"base": "--all"}, {"base": "1; rm"}, ["1"], {"base": None}])
def test_only_numbers_of_jobs_are_given_to_slurm(tmp_path: Path, jobs: Any) -> None:
    import json

    from xelm.launch.options import Launch
    from xelm.launch.slurm import _JOBS, _still_running

    (tmp_path / _JOBS).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / _JOBS).write_text(json.dumps(jobs))
    with pytest.raises(BadInput, match="no list of Slurm jobs"):
        _still_running(tmp_path, ["base"], Launch())
