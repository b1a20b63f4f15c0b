"""Options and words once: flags come from the library, and messages name arguments as each front end spells them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner

import clustering
import xelm
from clustering.errors import BadInput, arg
from router.generation_options import AnswerOptions, check_options
from xelm.cli import COMMANDS
from xelm.cli._options import made_of, options_of
from xelm.gateway.patience import Patience
from xelm.serving.limits import Limits

ROOT = Path(__file__).resolve().parents[1]
# A whole command, such as `xelm measure RECIPE --out effects.json`, can be typed wherever the message is read.
COMMAND = re.compile(r"`xelm [^`]*`")
KEY = re.compile(r"\[[\w.]+\] \w+=")
"""A key of a recipe, which is typed in the recipe alone."""
FLAG = re.compile(r"(?<![\w-])--[a-z]")
PYTHON_ONLY = {"k"}
"""Names that also stand for something else in messages: `[clusters] k`."""
OF_MODELS = {"run", "rule", "device_map", "max_bytes", "check_files"}
"""What only Python offers of opening a run."""
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
def test_every_command_spells_errors_of_the_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = import_module(f"xelm.cli.{name}").command
    option = next((p for p in command.params if isinstance(p, click.Option) and p.name == "out"), None)

    def fail(**_options: object) -> None:
        raise BadInput(f"{arg('out')} is missing")

    monkeypatch.setattr(command, "callback", fail)
    with pytest.raises(BadInput) as caught:
        command.invoke(click.Context(command))
    assert str(caught.value) == ("--out is missing" if option else "out= is missing")


def test_the_same_error_in_python_and_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"keep=2.0: λ is how much"):
        xelm.blend(tmp_path, keep=2.0)
    result = CliRunner().invoke(import_module("xelm.cli.blend").command, [str(tmp_path), "--keep", "2"])
    assert isinstance(result.exception, BadInput)
    assert str(result.exception).startswith("--keep 2.0: λ is how much")


@pytest.mark.parametrize(
    ("name", "function", "without"),
    [
        ("add", xelm.add_language, {"language"}),
        ("compare", xelm.compare_plans, {"recipe", "launch"}),
        (
            "cluster",
            clustering.cluster_languages,
            {"languages", "k", "method", "texts", "missing", "seed", "distances"},
        ),
        ("fit", clustering.fit_ranker, {"table", "num_trees"}),
        ("gateway", Patience, set()),
        ("gateway", xelm.RoutedLM.from_pretrained, OF_MODELS | {"device", "dtype", "max_loaded"}),
        ("generate", AnswerOptions, set()),
        ("generate", xelm.RoutedLM.from_pretrained, OF_MODELS),
        ("measure", xelm.measure_effects, {"recipe", "launch"}),
        ("prune", xelm.prune, {"model"}),
        ("route", xelm.RoutedLM.route, {"self", "texts"}),
        ("score", xelm.RoutedLM.score, {"self", "texts", "options"}),
        ("serve", Limits, set()),
        ("train", xelm.train, {"recipe", "launch", "report"}),
        ("transfer", xelm.transfer, {"recipe", "launch"}),
    ],
)
def test_a_command_has_every_argument_of_its_function_with_its_default(
    name: str, function: Callable[..., object], without: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, got = import_module(f"xelm.cli.{name}").command, dict[str, Any]()
    options = [p for p in command.params if isinstance(p, click.Option)]
    required = {p.name: p.opts[0] for p in options if p.required and p.name != "engines"}
    monkeypatch.setattr(command, "callback", lambda **given: got.update(given))
    words = ["word", *(["word"] if name == "route" else []), *(["--engine", "word"] if name == "gateway" else [])]
    command.main([*words, *(part for flag in required.values() for part in (flag, "word"))], standalone_mode=False)
    wanted = {key: p.default for key, p in inspect.signature(function).parameters.items() if key not in without}
    assert set(wanted) <= set(got)
    assert set(required) - {"out"} == {key for key, v in wanted.items() if v is inspect.Parameter.empty} - {"out"}
    for key in set(wanted) - set(required) - {"out"}:
        assert got[key] == wanted[key] or not (got[key] or wanted[key]), key


@dataclasses.dataclass
class Oven:
    """How bread is baked."""

    degrees: float
    """Heat, in `°C`."""
    kind: Literal["gas", "wood"] = "gas"
    """What burns. None: nothing."""


def _bake(
    loaves: int, out: str | Path | None = None, *, seeds: Sequence[str] = (), long: bool = False, hidden: int = 0
) -> None:
    """Bake.

    Args:
        loaves: How many, and
            more.
        out: Where to. None: here.
        seeds: What is on top.
        long: Whether it takes long.

    Returns:
        Bread: warm.
    """


def test_options_are_made_from_the_words_and_types_of_fields_and_arguments() -> None:
    got: dict[str, object] = {}

    @click.command()
    @options_of(Oven, flags={"kind": "--fire"})
    @options_of(_bake, without=("long",), seeds={"metavar": "SEED"})
    def command(**options: object) -> None:
        got.update(options)

    found = {p.name: p for p in command.params if isinstance(p, click.Option)}
    assert {name: p.help for name, p in found.items()} == {
        "degrees": "Heat, in °C.",
        "kind": "What burns. Default: nothing.",
        "loaves": "How many, and more.",
        "out": "Where to. Default: here.",
        "seeds": "What is on top. May be repeated.",
    }
    assert [name for name, p in found.items() if p.required] == ["degrees", "loaves"]
    typed = ["--degrees", "180", "--fire", "wood", "--loaves", "2", "--seeds", "a", "--seeds", "b", "--out", "x"]
    assert CliRunner().invoke(command, typed).exit_code == 0
    assert got == {"degrees": 180.0, "kind": "wood", "loaves": 2, "out": Path("x"), "seeds": ("a", "b")}
    assert CliRunner().invoke(command, ["--loaves", "two", "--degrees", "1"]).exit_code == 2


@pytest.mark.parametrize("typed", [["--top-p", "0"], ["--top-p", "1.5"], ["--top-k", "-1"], ["--temperature", "0"]])
def test_a_range_is_written_once_and_holds_on_the_command_line_and_in_python(typed: list[str]) -> None:
    made = dict[str, object]()

    @click.command()
    @options_of(AnswerOptions)
    def command(**options: Any) -> None:
        made["settings"] = made_of(AnswerOptions, options)

    assert CliRunner().invoke(command, ["--top-p", "0.5", "--temperature", "0.8"]).exit_code == 0
    assert made["settings"] == AnswerOptions(top_p=0.5, temperature=0.8)
    assert CliRunner().invoke(command, typed).exit_code == 2
    name, value = typed[0][2:].replace("-", "_"), float(typed[1])
    with pytest.raises(BadInput, match=rf"{name}={value}"):
        check_options({name: value})


@pytest.mark.parametrize("settings", [{"top_p": 0.5}, {"top_k": 3}, {"min_p": 0.1}])
def test_limits_of_a_drawing_need_one(settings: dict[str, Any]) -> None:
    [(name, value)] = settings.items()
    with pytest.raises(BadInput, match=f"{name}={value}: nothing is drawn. Give temperature= too"):
        AnswerOptions(**settings).for_generate()
    drawn = AnswerOptions(temperature=0.8, repetition_penalty=1.2, **settings).for_generate()
    assert drawn == {
        "max_new_tokens": 64,
        "do_sample": True,
        "temperature": 0.8,
        "top_p": 1.0,
        "repetition_penalty": 1.2,
        **settings,
    }
    assert AnswerOptions(max_new_tokens=3).for_generate() == {"max_new_tokens": 3, "do_sample": False}
