"""Messages of the library name arguments so that each front end can spell them: `k=0`, `--clusters 0`, `k = 0`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

import xelm
from clustering.errors import BadInput, arg
from xelm.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
# A whole command, such as `xelm measure RECIPE --out effects.json`, can be typed wherever the message is read.
COMMAND = re.compile(r"`xelm [^`]*`")
KEY = re.compile(r"\[[\w.]+\] \w+=")
"""A key of a recipe, which is typed in the recipe alone."""
FLAG = re.compile(r"(?<![\w-])--[a-z]")
PYTHON_ONLY = {"k"}
"""Names that also stand for something else in messages: `[clusters] k`."""
WITHOUT_FRONT_END = {"xelm/serving/limits.py"}
"""Tells a client of the server which flag its owner may set."""


def _options() -> set[str]:
    """Names of all parameters that the command line has an option for."""
    commands = [import_module(f"xelm.cli.{name}").command for name in COMMANDS]
    return {p.name for c in commands for p in c.params if isinstance(p, click.Option) and p.name} - PYTHON_ONLY


def _messages() -> Iterator[tuple[str, str]]:
    """The text in every call of `BadInput` and `check` below the command line, and where it is."""
    for package in ("clustering", "router", "xelm"):
        for file in sorted((ROOT / package).rglob("*.py")):
            where = file.relative_to(ROOT).as_posix()
            if where.startswith("xelm/cli/") or where in WITHOUT_FRONT_END:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("BadInput", "TooManyExperts", "check"):
                    for argument in node.args:
                        yield f"{where}:{node.lineno}", ast.unparse(argument)


def test_no_message_of_the_library_names_a_flag() -> None:
    found = list(_messages())
    assert len(found) > 200
    assert [pair for pair in found if FLAG.search(COMMAND.sub("", pair[1]))] == []


def test_every_message_lets_the_front_end_spell_its_options() -> None:
    by_hand = re.compile(rf"\b({'|'.join(sorted(_options()))})=\{{")
    assert [pair for pair in _messages() if by_hand.search(KEY.sub("", pair[1]))] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_spells_errors_of_the_library(name: str) -> None:
    command = import_module(f"xelm.cli.{name}").command
    option = next((p for p in command.params if isinstance(p, click.Option) and p.name == "out"), None)

    def fail(**_options: object) -> None:
        raise BadInput(f"{arg('out')} is missing")

    command.callback, before = fail, command.callback
    try:
        with pytest.raises(BadInput) as caught:
            command.invoke(click.Context(command))
    finally:
        command.callback = before
    assert str(caught.value) == ("--out is missing" if option else "out= is missing")


def test_the_same_error_in_python_and_on_the_command_line(tmp_path: Path) -> None:
    from click.testing import CliRunner

    with pytest.raises(BadInput, match=r"keep=2.0: λ is how much"):
        xelm.blend(tmp_path, keep=2.0)
    result = CliRunner().invoke(import_module("xelm.cli.blend").command, [str(tmp_path), "--keep", "2"])
    assert isinstance(result.exception, BadInput)
    assert str(result.exception).startswith("--keep 2.0: λ is how much")
