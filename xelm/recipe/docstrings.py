"""The docstrings of a dataclass's fields, from which `--help` and the reference of the recipe are made."""

from __future__ import annotations

import ast
import inspect
from functools import lru_cache


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
