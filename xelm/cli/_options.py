"""The common parts of all commands: grouped `--help`, options from dataclasses, errors in command-line words."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from clustering.errors import NO_VALUE, BadInput, in_python
from xelm.recipe.docstrings import field_docs

Function = TypeVar("Function", bound=Callable[..., Any])


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


def options_of(
    cls: type, *, group: str, flags: Mapping[str, str] | None = None, names: tuple[str, ...] | None = None
) -> Callable[[Function], Function]:
    """Add an option for each field of a dataclass: its name, type, default and the text under it.

    Args:
        cls: The dataclass. Fields are of type bool, int, float, str or a `Literal`, or one of these or None.
        group: Heading in `--help`.
        flags: Flags of fields whose flag differs from their name (`time_min` -> `--time`).
        names: Fields to take; None takes all.
    """
    docs, hints = field_docs(cls), get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if names is None or field.name in names]

    def decorate(function: Function) -> Function:
        for field in reversed(fields):
            flag = (flags or {}).get(field.name, "--" + field.name.replace("_", "-"))
            text = docs.get(field.name, "").replace("`", "").replace("None: ", "Default: ")
            function = option(flag, field.name, group=group, help=text, **_kind(hints[field.name], field.default))(
                function
            )
        return function

    return decorate


def _kind(hint: Any, default: Any) -> dict[str, Any]:
    """Type and default of an option, from those of a field."""
    if hint is bool:
        return {"is_flag": True, "default": default}
    [kind] = (
        [part for part in (get_args(hint) or (hint,)) if part is not NoneType]
        if get_origin(hint) is not Literal
        else [hint]
    )
    shown = {"default": default, "show_default": default is not None}
    if get_origin(kind) is Literal:
        return {"type": click.Choice(get_args(kind)), **shown}
    return {"type": str if kind is Any else kind, **shown}


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON; letters that the terminal's encoding lacks are escaped and not replaced."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    click.echo(text)
