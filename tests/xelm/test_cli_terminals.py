"""The command line on any terminal and machine, and in its own words."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clustering import cluster_languages
from clustering.errors import BadInput
from tests.xelm.stored_runs import unpack
from xelm.cli import COMMANDS, group
from xelm.launch.options import Launch

ROOT = Path(__file__).resolve().parents[2]


def _program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xelm", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=ROOT,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1251"])
@pytest.mark.parametrize("arguments", [("sources", "--help"), ("sources", "русский", "--candidates", "中文,deu")])
def test_any_encoding_prints_what_it_can(arguments: tuple[str, ...], encoding: str) -> None:
    done = _program(*arguments, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "Error" not in done.stderr


@pytest.mark.slow  # starts the program on a run: 9 s
def test_an_answer_in_another_script_is_printed_as_far_as_it_can_be(tmp_path: Path) -> None:
    run = unpack(tmp_path) / "grown"
    done = _program("generate", str(run), "вода и", "--max-new-tokens", "2", PYTHONIOENCODING="latin-1")
    assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
    assert "???? ?" in done.stdout


def test_json_is_whole_in_any_encoding() -> None:
    done = _program("sources", "nob", "--candidates", "fin,fas", "--json", PYTHONIOENCODING="ascii")
    assert "Norwegian Bokm\\u00e5l" in done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("sources", "swa", "--candidates", "zul,deu,eng")])
def test_a_reader_that_leaves_early_is_no_error(arguments: tuple[str, ...]) -> None:
    words = " ".join([sys.executable, "-m", "xelm", *arguments])
    done = subprocess.run(
        ["bash", "-c", f"{words} | head -c 1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ},
        check=False,
    )
    assert done.stderr == ""


def test_no_home_and_no_cache_are_no_error(tmp_path: Path) -> None:
    for code, text in (("swa", "habari ya asubuhi"), ("zul", "sawubona mngani wami")):
        (tmp_path / f"{code}.txt").write_text(text, encoding="utf-8")
    without = {name: value for name, value in os.environ.items() if name not in ("XELM_CACHE", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-m", "xelm", "sources", "swa", "--corpus", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**without, "HOME": "/proc"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Zulu" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["sources", "info"])
def test_a_user_without_a_passwd_entry_and_without_a_home_is_served(tmp_path: Path, what: str) -> None:
    other = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    if shutil.which("unshare") is None or subprocess.run([*other, "true"], capture_output=True).returncode:
        pytest.skip("no other user can be had here")
    for code, text in (("swa", "habari ya asubuhi"), ("zul", "sawubona mngani wami")):
        (tmp_path / "corpus" / f"{code}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "corpus" / f"{code}.txt").write_text(text, encoding="utf-8")
    words = {
        "sources": ["sources", "swa", "--corpus", str(tmp_path / "corpus")],
        "info": ["info", str(unpack(tmp_path) / "grown")],
    }
    hidden = ("XELM_CACHE", "XDG_CACHE_HOME", "HOME", "USER", "LOGNAME")
    done = subprocess.run(
        [*other, sys.executable, "-m", "xelm", *words[what]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**{name: value for name, value in os.environ.items() if name not in hidden}, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert {"sources": "Zulu", "info": "c1-deu-nld"}[what] in done.stdout
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    "arguments",
    [("info", "~nobody-here/run"), ("sources", "swa", "--corpus", "~nobody-here/c"), ("train", "~nobody-here/r.toml")],
)
def test_a_home_that_is_not_there_is_told(arguments: tuple[str, ...]) -> None:
    error = CliRunner().invoke(group, list(arguments)).exception
    assert isinstance(error, BadInput)
    assert "no home folder is known for ~" in str(error)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_narrow_terminal(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    context = click.Context(command, info_name=name, terminal_width=40, max_content_width=40)
    text = command.get_help(context).partition("Example:")[0]
    assert max(len(line) for line in text.splitlines()) <= 60  # a long flag stands alone on its line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("cluster", "deu", "nld", "rus", "-k", "2", "--method", "tfidf"),
            "--method tfidf groups by text: give --corpus",
        ),
        (("cluster", "deu", "nld", "-k", "1", "--balance", "tokens"), "--balance tokens needs --tokens LANG=N"),
        (("cluster", "deu", "nld", "-k", "3"), "-k 3 does not fit 2 languages"),
        (("train", "none.toml", "--cpus", "0"), "--cpus 0 must be at least 1"),
        (("train", "none.toml", "--time", "0"), "--time 0 must be at least 1"),
        (("train", "none.toml", "--mem", "2"), "--mem 2.0: only for Slurm jobs. Add --launcher slurm"),
        (("train", "none.toml", "--fsdp"), "--fsdp splits a model over processes: add --processes 2"),
        (("sources", "swa", "zul"), "one target at a time"),
        (("sources", "fit", "t.csv"), "Add --out"),
    ],
)
def test_the_command_line_names_its_options(arguments: tuple[str, ...], message: str) -> None:
    error = CliRunner().invoke(group, list(arguments)).exception
    assert isinstance(error, BadInput)
    assert message in str(error)


def test_python_names_its_arguments() -> None:
    with pytest.raises(BadInput, match=r"^cpus=0 must be at least 1\.$"):
        Launch(cpus=0)
    with pytest.raises(BadInput, match=r"mem_gib=2: only for Slurm jobs\. Add launcher='slurm'"):
        Launch(mem_gib=2)
    with pytest.raises(BadInput, match=r"method='tfidf' groups by text: give texts="):
        cluster_languages(["deu", "nld"], 1, "tfidf")


def test_train_has_an_option_for_every_setting_of_machines() -> None:
    command = group.get_command(click.Context(group), "train")
    assert command is not None
    options = {param.name: param for param in command.params}
    for field in dataclasses.fields(Launch):
        assert options[field.name].default == field.default
        assert options[field.name].help  # type: ignore[attr-defined]


def test_sources_fit_ranks_the_language_and_fits_on_a_table(tmp_path: Path) -> None:
    ranked = CliRunner().invoke(group, ["sources", "fit", "--candidates", "fin,swe"])
    assert "Source languages for Tornedalen Finnish (fit)" in ranked.output
    table = tmp_path / "t.csv"
    pairs = [(a, b) for a in ("deu", "nld", "swe", "dan") for b in ("deu", "nld", "swe", "dan") if a != b]
    table.write_text("target,source,score\n" + "".join(f"{a},{b},{len(a + b) + ord(b[0])}\n" for a, b in pairs))
    for words in (("sources", "fit"), ("fit",)):
        done = CliRunner().invoke(group, [*words, str(table), "--out", str(tmp_path / "r.json")])
        assert (done.exit_code, "12 pairs: 4 targets, 4 sources" in done.output) == (0, True), done
