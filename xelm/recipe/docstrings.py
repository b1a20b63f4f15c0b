"""The words that a dataclass has for its fields, and a function for its arguments: `--help` and the reference of the
recipe are made from them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

Class = TypeVar("Class")
_ARGS = re.compile(r"^Args:\n((?:(?:    .*)?\n)+)", re.MULTILINE)
_ARGUMENT = re.compile(r"^    (\w+): ((?:.+\n(?:        .+\n)*))", re.MULTILINE)


@lru_cache(maxsize=32)
def field_docs(cls: type) -> dict[str, str]:
    """{field: the string under it, on one line} of a dataclass; fields without one are left out."""
    [definition] = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match following:
                case ast.Expr(value=ast.Constant(value=str() as text)):
                    found[statement.target.id] = " ".join(text.split())
    return found


class _WithFields:
    """The docstring of a dataclass with the words of its fields, put together when `help` asks for it."""

    def __init__(self, summary: str, cls: type):
        self._summary, self._cls = summary, cls

    def __get__(self, instance: object, owner: type) -> str:
        lines = [f"    {name}: {text}" for name, text in field_docs(self._cls).items()]
        return "\n".join([inspect.cleandoc(self._summary), "", "Attributes:", *lines])


def fields_in_help(cls: type[Class]) -> type[Class]:
    """Let `help` show the strings under the fields of a dataclass, which Python itself does not keep."""
    cls.__doc__ = _WithFields(cls.__doc__ or "", cls)  # type: ignore[assignment]
    return cls


def argument_docs(function: Callable[..., Any]) -> dict[str, str]:
    """{argument: its text under `Args:`, on one line} of a function."""
    section = _ARGS.search(f"{inspect.getdoc(function) or ''}\n")
    return {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(section[1] if section else "")}
