"""The common parts of all commands: grouped `--help`, options from dataclasses, errors in command-line words."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click
from annotated_types import Interval
from click.core import ParameterSource

from clustering.errors import NO_VALUE, BadInput, in_python
from clustering.ranges import range_of
from xelm.recipe.docstrings import argument_docs, field_docs

_REQUIRED = inspect.Parameter.empty
Function = TypeVar("Function", bound=Callable[..., Any])
Settings = TypeVar("Settings")


class Option(click.Option):
    """An option that stands under a heading of its own in `--help`."""

    def __init__(self, *args: Any, group: str | None = None, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.group = group


class Command(click.Command):
    """A command whose `--help` groups options, and whose errors name arguments as they are typed here."""

    def __init__(self, *args: Any, words: Mapping[str, str] | None = None, **attrs: Any) -> None:
        """Make a command.

        Args:
            args: As for `click.Command`.
            words: How to spell arguments of the library that no parameter of this command is named after: a flag, or
                a flag with what stands for its value.
            attrs: As for `click.Command`.
        """
        super().__init__(*args, **attrs)
        self._words = dict(words or {})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group, those without a group first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(param, "group", None) or "Options", []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of the library are shown in the words of the command line."""
        try:
            return super().invoke(ctx)
        except BadInput as error:
            raise BadInput(error.spelled(self._spell)) from error

    def _spell(self, name: str, value: object) -> str:
        if name in self._words:
            word = self._words[name]
            return word if value is NO_VALUE or " " in word else f"{word} {shlex.quote(str(value))}"
        for param in self.params:
            if param.name == name and isinstance(param, click.Option):
                return _typed(param, value)
            if param.name == name:
                return param.make_metavar(click.Context(self)) if value is NO_VALUE else shlex.quote(str(value))
        return in_python(name, value)


def _typed(option: click.Option, value: object) -> str:
    flag = option.opts[0]
    if option.is_flag:
        return flag if value is not False or not option.secondary_opts else option.secondary_opts[0]
    return flag if value is NO_VALUE or value is None else f"{flag} {shlex.quote(str(value))}"


option = partial(click.option, cls=Option)
"""`click.option` with a `group`."""


@dataclasses.dataclass(frozen=True)
class _Argument:
    """What an option is made from: a field of a dataclass, or an argument of a function."""

    name: str
    hint: Any
    default: Any
    text: str


def options_of(
    source: type | Callable[..., Any],
    *,
    group: str | None = None,
    flags: Mapping[str, str] | None = None,
    names: tuple[str, ...] | None = None,
    without: tuple[str, ...] = (),
    **changes: Mapping[str, Any],
) -> Callable[[Function], Function]:
    """Add an option for each field of a dataclass, or argument of a function: its name, type, default and text.

    Args:
        source: The dataclass, with a text under each field; or the function, with an `Args:` section in its docstring.
            Types are bool, int, float, str, a number with its range, a path, a `Literal`, a sequence of one of these,
            or one of these or None.
        group: Heading in `--help`.
        flags: Flags that differ from the name (`time_min` -> `--time`).
        names: Fields or arguments to take; None takes all.
        without: Fields or arguments to leave out.
        changes: By name, settings of `click.option` that replace those found.
    """
    found = [it for it in _arguments(source) if (names is None or it.name in names) and it.name not in without]

    def decorate(function: Function) -> Function:
        for argument in reversed(found):
            flag = (flags or {}).get(argument.name, "--" + argument.name.replace("_", "-"))
            text = argument.text.replace("`", "").replace("None: ", "Default: ")
            settings = {**_kind(argument.hint, argument.default), **changes.get(argument.name, {})}
            settings.setdefault("help", f"{text} May be repeated." if settings.get("multiple") else text)
            function = option(flag, argument.name, group=group, **settings)(function)
        return function

    return decorate


def _arguments(source: type | Callable[..., Any]) -> list[_Argument]:
    if isinstance(source, type):
        docs, hints = field_docs(source), get_type_hints(source, include_extras=True)
        fields = dataclasses.fields(source)
        return [_Argument(item.name, hints[item.name], _default(item), docs.get(item.name, "")) for item in fields]
    docs, parameters = argument_docs(source), inspect.signature(source).parameters
    # Not of the return value, whose type may be imported for the type checker only.
    annotations = {name: parameters[name].annotation for name in docs}
    stand_in = type("_Arguments", (), {"__annotations__": annotations})
    hints = get_type_hints(stand_in, globalns=getattr(source, "__globals__", None))
    return [_Argument(name, hints[name], parameters[name].default, text) for name, text in docs.items()]


def _default(field: dataclasses.Field[Any]) -> Any:
    return _REQUIRED if field.default is dataclasses.MISSING else field.default


def _kind(hint: Any, default: Any) -> dict[str, Any]:
    """Type and default of an option, from those of a field or an argument."""
    if hint is bool:
        return {"is_flag": True, "default": default}
    options = [*(get_args(hint) if _is_union(hint) else (hint,))]
    [*others, kind] = [part for part in options if part is not NoneType]
    shown = (
        {"default": default, "show_default": default is not None} if default is not _REQUIRED else {"required": True}
    )
    if (found := range_of(kind)) is not None:
        return {"type": _ranged(*found), **shown}
    if get_origin(kind) in (tuple, Sequence, Iterable):
        return {"type": _kind(get_args(kind)[0], _REQUIRED)["type"], "multiple": True}
    if Path in (kind, *others):
        return {"type": click.Path(path_type=Path), **shown}
    if get_origin(kind) is Literal:
        return {"type": click.Choice(get_args(kind)), **shown}
    return {"type": str if kind is Any else kind, **shown}


def _ranged(kind: type, interval: Interval) -> click.IntRange | click.FloatRange:
    low, high = interval.ge, interval.le
    ends: dict[str, Any] = {
        "min": interval.gt if low is None else low,
        "max": interval.lt if high is None else high,
        "min_open": interval.gt is not None,
        "max_open": interval.lt is not None,
    }
    return click.IntRange(**ends) if kind is int else click.FloatRange(**ends)


def made_of(source: type[Settings], options: dict[str, Any]) -> Settings:
    """A dataclass from the options that `options_of` made of it, which are taken out of those given."""
    return source(**{item.name: options.pop(item.name) for item in dataclasses.fields(source) if item.name in options})  # type: ignore[arg-type]


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def is_typed(name: str) -> bool:
    """Whether the user gave an option of the running command, in place of its default."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON; letters that the terminal's encoding lacks are escaped and not replaced."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    click.echo(text)
