"""The command line: exit codes, one message, no traceback, output that programs can read."""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from tests.xelm.conftest import WORDS, make_corpus
from xelm.cli import COMMANDS, group, main

RECIPE = """
[base.new]
hidden_size = 16
num_layers = 1
num_heads = 2
context_length = 32
tokens = 256
[data]
path = "corpus"
[clusters]
k = 2
[train]
tokens = 512
batch_size = 4
"""


@dataclass(frozen=True)
class Outcome:
    """What a call of the program came to."""

    code: int
    out: str
    err: str


Xelm = Callable[..., Outcome]


@pytest.fixture
def xelm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xelm:
    """Call the program as from a shell."""

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["xelm", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe beside a corpus of three languages."""
    make_corpus(tmp_path / "corpus")
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "recipe.toml"


def _is_one_message(outcome: Outcome, *parts: str) -> None:
    """Exit code 2 and one line that holds all of `parts`."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    lines = [line for line in outcome.err.splitlines() if "it/s" not in line and "language/s" not in line]
    messages = [line for line in lines if line.strip()]
    assert len(messages) == 1, outcome.err
    assert messages[0].startswith("error: ")
    for part in parts:
        assert part in messages[0]


def test_help_lists_every_command_that_there_is(xelm: Xelm) -> None:
    outcome = xelm("--help")
    assert outcome.code == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)
    modules = {p.stem for p in (Path(__file__).parents[2] / "xelm" / "cli").glob("*.py")} - {"__init__"}
    assert set(COMMANDS) == {name for name in modules if not name.startswith("_")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_to_paste(xelm: Xelm, name: str) -> None:
    outcome = xelm(name, "--help")
    assert outcome.code == 0
    _, _, example = outcome.out.partition("Example:")
    assert f"xelm {name}" in example
    assert "Usage:" in outcome.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.help
    # What a type or a default says by itself needs no words.
    unexplained = [
        p.name
        for p in command.params
        if isinstance(p, click.Option) and not p.help and not isinstance(p.type, click.IntRange | click.FloatRange)
    ]
    assert unexplained == []


def test_the_version_is_told(xelm: Xelm) -> None:
    outcome = xelm("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("xelm")


@pytest.mark.parametrize(
    "arguments",
    [
        ("unknown",),
        ("train",),
        ("train", "recipe.toml", "--unknown"),
        ("cluster",),
        ("generate", "run", "--max-new-tokens", "0", "text"),
        ("--unknown",),
    ],
)
def test_bad_usage_is_code_2_on_stderr_without_a_traceback(xelm: Xelm, arguments: tuple[str, ...]) -> None:
    outcome = xelm(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Usage:" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_plan_is_made_shown_and_saved(xelm: Xelm, tmp_path: Path) -> None:
    outcome = xelm("cluster", "de", "nl", "ru", "bg", "-k", "2", "--out", tmp_path / "plan.json", "--json")
    assert outcome.code == 0
    plan = json.loads(outcome.out)
    assert sorted(code for codes in plan["clusters"].values() for code in codes) == ["bul", "deu", "nld", "rus"]
    assert json.loads((tmp_path / "plan.json").read_text(encoding="utf-8")) == plan


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("cluster", "de", "qqzz", "-k", "1"), ("qqzz",)),
        (("cluster", "de", "nl", "-k", "3"), ("3", "2")),
        (("cluster", "de", "nl"), ("-k",)),
        (("train", "no-such.toml"), ("no-such.toml", "no such recipe file")),
        (("info", "no-such-run"), ("no-such-run",)),
        (("verify", "no-such-run"), ("no-such-run",)),
        (("eval", "no-such-run"), ("no-such-run",)),
        (("report", "no-such-run"), ("no-such-run",)),
        (("route", "no-such-run", "text"), ("no-such-run",)),
        (("generate", "no-such-run", "text"), ("no-such-run",)),
        (("add", "zul", "--data", "no-such.jsonl", "--run", "no-such-run"), ("no-such",)),
        (("remove", "zul", "--run", "no-such-run"), ("no-such-run",)),
    ],
    ids=lambda value: " ".join(value) if value and value[0] in COMMANDS else "",
)
def test_bad_input_is_code_2_and_one_message(
    xelm: Xelm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    _is_one_message(xelm(*arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def _corrupt_line(corpus: Path) -> tuple[str, ...]:
    with (corpus / "deu.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "cut of')
    return "deu.jsonl, line 61", "not valid JSON", 'data.on_bad_line = "skip"'


def _invalid_byte(corpus: Path) -> tuple[str, ...]:
    lines = (corpus / "nld.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b" ", b"\xff", 1)
    (corpus / "nld.jsonl").write_bytes(b"".join(lines))
    return "nld.jsonl, line 5", "not valid UTF-8", "0xff", 'data.on_bad_line = "skip"'


def _empty_file(corpus: Path) -> tuple[str, ...]:
    (corpus / "rus.jsonl").write_bytes(b"")
    return "rus.jsonl", "no text in it", "remove the file"


def _unknown_code(corpus: Path) -> tuple[str, ...]:
    (corpus / "rus.jsonl").rename(corpus / "qqzz.jsonl")
    return "qqzz.jsonl", "Rename the file"


def _cut_gzip(corpus: Path) -> tuple[str, ...]:
    whole = gzip.compress((corpus / "rus.jsonl").read_bytes())
    (corpus / "rus.jsonl").unlink()
    (corpus / "rus.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    return "rus.jsonl.gz", "not a whole gzip file", "Copy it again"


@pytest.mark.parametrize("damage", [_corrupt_line, _invalid_byte, _empty_file, _unknown_code, _cut_gzip])
@pytest.mark.parametrize("mode", [(), ("--dry-run",)], ids=["train", "dry run"])
def test_bad_text_is_code_2_and_one_message_that_names_file_line_and_remedy(
    xelm: Xelm, recipe: Path, damage: Callable[[Path], tuple[str, ...]], mode: tuple[str, ...]
) -> None:
    parts = damage(recipe.parent / "corpus")
    _is_one_message(xelm("train", recipe, "--out", recipe.parent / "run", *mode), *parts)
    assert not list(recipe.parent.rglob("*.safetensors"))


@pytest.mark.parametrize("damage", [_corrupt_line, _invalid_byte])
def test_bad_lines_are_skipped_and_counted_where_that_is_wanted(
    xelm: Xelm, recipe: Path, damage: Callable[[Path], tuple[str, ...]]
) -> None:
    damage(recipe.parent / "corpus")
    outcome = xelm("train", recipe, "--set", "data.on_bad_line=skip", "--dry-run")
    assert outcome.code == 0
    assert "1 bad line(s) skipped, the first: " in outcome.err


def test_a_dry_run_prints_the_budget_and_leaves_nothing(
    xelm: Xelm, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    before = sorted(recipe.parent.iterdir())
    outcome = xelm("train", recipe, "--dry-run")
    assert outcome.code == 0
    assert "experts together: 512 tokens; dense baseline: 512 tokens" in outcome.out
    assert sorted(recipe.parent.iterdir()) == before
    budget = json.loads(xelm("train", recipe, "--dry-run", "--json").out)
    assert sum(stage["tokens"] for stage in budget["experts"].values()) == budget["dense"]["tokens"] == 512


def test_progress_that_nobody_watches_draws_no_bars_and_quiet_shows_none(xelm: Xelm, recipe: Path) -> None:
    loud = xelm("train", recipe, "--out", recipe.parent / "loud")
    quiet = xelm("-q", "train", recipe, "--out", recipe.parent / "quiet")
    assert (loud.code, quiet.code) == (0, 0)
    assert "run complete" in loud.err
    for outcome in (loud, quiet):
        assert re.search(r"\r|\d%\|", outcome.err) is None, outcome.err
    assert not any(word in quiet.err for word in ("run complete", "clusters", " tok"))


def test_a_run_goes_through_all_commands(xelm: Xelm, recipe: Path) -> None:
    run = recipe.parent / "run"
    trained = xelm("train", recipe, "--out", run)
    assert trained.code == 0
    assert str(run / "report.html") in trained.out

    info = xelm("info", run)
    assert info.code == 0
    assert all(word in info.out for word in ("base", "dense", "512"))
    info = json.loads(xelm("info", run, "--json").out)
    assert sorted(info["data"]) == sorted(WORDS)
    assert all(set(told["change_percent"]) == set(WORDS) for told in info["forgetting"].values())

    assert xelm("verify", run).code == 0
    assert json.loads(xelm("verify", run, "--json").out) == []

    routes = json.loads(xelm("route", run, "das haus und die straße", "это дом и вода", "--json").out)
    assert [route["language"] for route in routes] == ["deu", "rus"]
    assert all(abs(sum(route["weights"].values()) - 1) < 1e-6 for route in routes)

    answers = xelm("generate", run, "das haus", "вода и", "--max-new-tokens", "4", "--json")
    assert [row["prompt"] for row in json.loads(answers.out)] == ["das haus", "вода и"]

    table = json.loads(xelm("eval", run, "--json").out)
    assert set(table["models"]["base"]) == set(WORDS)

    before = (run / "report.html").read_bytes()
    assert xelm("report", run).code == 0
    assert (run / "report.html").read_bytes() == before
    assert xelm("verify", run).code == 0

    (run / "plan.json").write_text((run / "plan.json").read_text(encoding="utf-8") + " ", encoding="utf-8")
    damaged = xelm("verify", run)
    assert damaged.code == 1
    assert "changed: plan.json" in damaged.out


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FloatingPointError("the loss is nan"), 1, "error: the loss is nan"),
        (OSError(28, "No space left on device", "/run/x"), 1, "error: No space left on device: /run/x"),
        (MemoryError(), 1, "error: out of memory"),
        (KeyboardInterrupt(), 130, "stopped. What was finished is kept: the same command continues."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_failure_is_one_message_without_a_traceback(
    xelm: Xelm, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr("xelm.making.train.train", fail)
    outcome = xelm("train", "recipe.toml")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.strip() == message
