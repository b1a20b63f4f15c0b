"""The exception for every mistake that the caller can correct, and how messages name arguments.

A library function does not know whether it was called from Python, from the command line or for a recipe. It writes
`arg("k", 0)` where the message names an argument; each front end spells it in its own words (`k=0`, `--clusters 0`,
`k = 0`) when the message is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

# Characters of Unicode's private use area: no message, path or text of a user has them by accident.
_OPEN, _EQUALS, _CLOSE = "\ue0a0", "\ue0a1", "\ue0a2"
_ARGUMENT = re.compile(f"{_OPEN}(\\w+)(?:{_EQUALS}([^{_CLOSE}]*))?{_CLOSE}")
_NOTHING = object()

Spell = Callable[[str, object], str]
"""A function from the name of an argument and its value (or `NO_VALUE`) to the words of a front end."""
NO_VALUE = _NOTHING
"""Stands for the value where a message only names an argument."""


def arg(name: str, value: object = NO_VALUE) -> str:
    """An argument in a message of `BadInput`, spelled by the front end that shows the message.

    Args:
        name: Its name in Python.
        value: The value that was given, or one to give: text, number, boolean, None or a list of them.
    """
    stored = "" if value is NO_VALUE else _EQUALS + json.dumps(value, default=str)
    return f"{_OPEN}{name}{stored}{_CLOSE}"


def in_python(name: str, value: object) -> str:
    """`k=0`, and `k=` for the name alone."""
    return f"{name}=" if value is NO_VALUE else f"{name}={value!r}"


class BadInput(ValueError):
    """An input, a file or an argument cannot be used.

    The message is complete: what was found, where, and what to do about it. The command line prints it
    alone, without a traceback, and exits with code 2.
    """

    def __str__(self) -> str:
        return self.spelled(in_python)

    def spelled(self, spell: Spell) -> str:
        """The message with its arguments in the words of a front end."""

        def words(found: re.Match[str]) -> str:
            return spell(found[1], NO_VALUE if found[2] is None else json.loads(found[2]))

        return _ARGUMENT.sub(words, super().__str__())


def refuse_text(name: str, value: object) -> None:
    """Refuse a text as the value of an argument that needs a list: its letters would become the items.

    Raises:
        BadInput: If `value` is a text; the message shows the list to write.
    """
    if isinstance(value, str | bytes):
        raise BadInput(f"{arg(name, value)} is one text; give a list: write [{json.dumps(str(value))}].")
