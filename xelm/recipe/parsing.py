"""Reading nested tables into frozen dataclasses: unknown keys and wrong values are named, near ones suggested."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from clustering.errors import NO_VALUE, BadInput, Spell, arg


def check(condition: bool, message: str) -> None:
    """Raise an error with a message unless a condition holds.

    Raises:
        BadInput: With that message.
    """
    if not condition:
        raise BadInput(message)


def in_recipe(section: str, keys: Mapping[str, str] | None = None) -> Spell:
    """How a recipe spells arguments in messages: `[clusters] k = 9`.

    Args:
        section: The table that the arguments come from.
        keys: Keys that are called otherwise than the arguments.
    """

    def spell(name: str, value: object) -> str:
        key = (keys or {}).get(name, name)
        return f"[{section}] {key}" if value is NO_VALUE else f"[{section}] {key} = {json.dumps(value)}"

    return spell


def read_toml(
    file: Path, missing: str = "no such recipe file", invalid: str = "not a valid TOML recipe"
) -> dict[str, Any]:
    """The table of a TOML file.

    Args:
        file: The file.
        missing: What to say if it is not there.
        invalid: What to say if it is not TOML.

    Raises:
        BadInput: If it is missing or not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise BadInput(f"{file}: {missing}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {invalid}: {error}") from None


def override(table: dict[str, Any], text: str) -> None:
    """Put `section.key=value` into a nested table, in place; the value is TOML, or else a bare string."""
    key, sign, value = text.partition("=")
    check(
        bool(sign and key.strip()),
        f"{arg('overrides', text)}: write section.key=value, for example {arg('overrides', 'train.seed=1')}.",
    )
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        check(isinstance(table, dict), f"{arg('overrides', text)}: '{section}' is a value, not a section.")
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = value


def build(kind: Any, table: Any, where: str = "") -> Any:
    """Make a dataclass of a table, its sections too.

    Args:
        kind: The dataclass.
        table: Its keys.
        where: The section's name, for messages.

    Raises:
        BadInput: For unknown or missing keys and values of the wrong type or range.
    """
    check(isinstance(table, dict), f"[{where}] must be a table of keys, found {table!r}.")
    hints = get_type_hints(kind)
    known = [item.name for item in dataclasses.fields(kind)]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}."
            raise BadInput(f"unknown key '{key}' in {f'[{where}]' if where else 'the recipe'}: {hint}")
    values = {key: _value(hints[key], value, f"{where}.{key}".lstrip(".")) for key, value in table.items()}
    for item in dataclasses.fields(kind):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and item.name not in values:
            raise BadInput(
                f"[{where}] lacks the key '{item.name}'." if where else f"the section [{item.name}] is missing."
            )
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    options = get_args(hint)
    if get_origin(hint) is Literal:
        if value not in options:
            near = difflib.get_close_matches(str(value), options, n=1)
            raise BadInput(f"{where} = {value!r}: choose {' or '.join(options)}{f' ({near[0]}?)' if near else ''}.")
        return value
    if hasattr(hint, "from_table"):  # the table says which of several classes it is
        return hint.from_table(value, where)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if get_origin(hint) is tuple:
        of = {str: "strings", float: "numbers", int: "whole numbers"}[options[0]]
        try:
            check(isinstance(value, list | tuple), "")
            return tuple(_value(options[0], item, where) for item in value)
        except BadInput:
            raise BadInput(f"{where} = {value!r}: a list of {of} is expected.") from None
    if get_origin(hint) is dict:
        check(isinstance(value, dict), f"{where} = {value!r}: a table of keys is expected.")
        return {key: _value(options[1], item, f"{where}.{key}") for key, item in value.items()}
    if options:
        return _one_of(options, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wrong_bool = isinstance(value, bool) and hint is not bool
    check(isinstance(value, hint) and not wrong_bool, f"{where} = {value!r}: expected {hint.__name__}.")
    return value


def _one_of(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value as the first of several types that it fits; if it fits none, the error of the last one."""
    if value is None and type(None) in options:
        return None
    others = [option for option in options if option is not type(None)]
    for option in others[:-1]:
        try:
            return _value(option, value, where)
        except BadInput:
            continue
    try:
        return _value(others[-1], value, where)
    except BadInput as error:
        if len(others) == 1:
            raise
        names = " or ".join(_name_of(option) for option in others)
        raise BadInput(f"{where} = {value!r}: expected {names}.") from error


def _name_of(hint: Any) -> str:
    return " or ".join(map(repr, get_args(hint))) if get_origin(hint) is Literal else str(hint.__name__)
