"""`xelm add` and `xelm remove` at the terminal, and the walk-through of docs/add-a-language.md."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.xelm.adding import contents, copy_of, new_text, train_tiny
from xelm import cli
from xelm.adding.text import addition_text
from xelm.run.experts import ExpertSet

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "add-a-language.md"
TINY = (
    "base.new.hidden_size=16 base.new.num_heads=2 base.new.num_layers=1 base.new.context_length=64 "
    "base.new.tokens=8000 train.tokens=8000 data.heldout_bytes=1500"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return train_tiny(tmp_path_factory.mktemp("finished"))


@dataclass
class Shell:
    """Runs the program in this process."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["xelm", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = self.capsys.readouterr()
        return code, out, err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_the_command_shows_all_three_signals_the_tokenizer_and_what_changed(
    finished: Path, tmp_path: Path, shell: Shell
) -> None:
    run = copy_of(finished, tmp_path)
    code, out, _ = shell("add", "ell", "--data", new_text(tmp_path, "ell"), "--run", run, "--tokens", 512)
    assert code == 0
    experts = ExpertSet.load(run)
    line = experts.manifest.ledger[-1]
    assert out.rstrip() == addition_text(line)
    header = out.splitlines()[1]
    assert all(word in header for word in ("bits per byte", "typology", "nearest", "words shared", "subwords shared"))
    for name in [*experts.models[:-1], "Greek (ell)", f"{line.donor}*", line.reason, "tokenizer: 1.00 tokens"]:
        assert name in out
    assert re.search(r"bits per byte, routed: ell \d\.\d{3} before, \d\.\d{3} after", out)
    assert "read as their language: 100.0 % of the new language" in out


def test_json_is_the_ledger_s_line_and_nothing_else(finished: Path, tmp_path: Path, shell: Shell) -> None:
    run = copy_of(finished, tmp_path)
    code, out, _ = shell(
        "add", "pol", "--data", new_text(tmp_path, "pol"), "--run", run, "--tokens", 128, "--as", "join", "--json"
    )
    assert code == 0
    assert json.loads(out) == ExpertSet.load(run).manifest.ledger[-1].to_dict()
    assert shell("remove", "pol", "--run", run)[1] == "pol removed; the run has 3 languages\n"
    assert contents(run) == contents(finished)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "deu", "--data", "TEXT"], "error: German is in this run already"),
        (["add", "swe", "--data", "nowhere.jsonl"], r"error: nowhere\.jsonl: no such file or folder"),
        (["add", "swe", "--data", "TEXT", "--donor", "zul"], "error: --donor zul: neither a model"),
        (["add", "swe", "--data", "TEXT", "--replay", "2"], r"error: --replay 2\.0"),
        (["add", "swe", "--data", "TEXT", "--as", "guest"], "Invalid value for '--as'"),
        (["add", "swe"], "Missing option '--data'"),
        (["remove", "swe"], r"error: swe: was not added to this run \(added: none\)"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    finished: Path, tmp_path: Path, shell: Shell, arguments: list[str], message: str
) -> None:
    text = str(new_text(tmp_path, "swe"))
    code, out, err = shell(*[text if a == "TEXT" else a for a in arguments], "--run", finished)
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert "Traceback" not in err


def _steps() -> list[tuple[list[str], list[str]]]:
    """(command, lines it prints) of the page's console blocks, in order."""
    steps: list[tuple[list[str], list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((shlex.split(line[2:])[1:], []))
            else:
                steps[-1][1].append(line)
    return steps


def _shape(line: str) -> str:
    """What of a printed line does not hang on the numbers, or on which expert was chosen."""
    line = re.sub(r"c\d+-[a-z-]+\*?|-{3,}", "", line)
    return " ".join(re.sub(r"[-+]?\d+(\.\d+)?", "#", line).split())


@pytest.mark.slow  # six commands on a run of its own: 20 s
def test_the_walk_through_of_the_docs_works_and_prints_what_it_says(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "xelm" / "starter", tmp_path / "xelm" / "starter")
    monkeypatch.chdir(tmp_path)
    steps = _steps()
    assert [command[0] for command, _ in steps] == ["train", "add", "route", "verify", "remove", "add"]
    for number, (command, expected) in enumerate(steps):
        tiny = [word for setting in TINY.split() for word in ("--set", setting)] if command[0] == "train" else []
        code, out, err = shell("--quiet", *command, *tiny)
        refused = number == len(steps) - 1
        assert code == (2 if refused else 0), err
        printed = {_shape(line) for line in (err if refused else out).splitlines()}
        if command[0] in ("verify", "remove"):
            assert printed == {_shape(line) for line in expected}
        elif refused:
            assert any("not Portuguese; Spanish is already in this run" in line for line in printed)
        elif command[0] == "add":
            starts = [_shape(line)[:24] for line in expected if not line.startswith("c")]
            assert starts
            assert [s for s in starts if not any(p.startswith(s) for p in printed)] == []
        elif command[0] == "route":
            assert "por" in out
