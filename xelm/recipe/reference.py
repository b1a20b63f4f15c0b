"""The reference of every key of a recipe, `docs/recipe.md`, made from the dataclasses that read it.

python -m xelm.recipe.reference > docs/recipe.md
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from xelm.expert_kinds.kind import EXPERT_KINDS
from xelm.recipe.docstrings import field_docs
from xelm.recipe.recipe import Base, Clusters, Data, NewBase, Router, Train

_HEAD = """# The recipe: every key

A recipe is a TOML file; `xelm train recipe.toml` reads it. Unknown keys are errors that name the nearest known one.
`--set section.key=value` on the command line overrides a key. Relative paths start at the recipe's own folder.
This page is made from the code by `python -m xelm.recipe.reference`.
"""
_SECTIONS: dict[str, type] = {
    "base": Base,
    "base.new": NewBase,
    "data": Data,
    "clusters": Clusters,
    "train": Train,
    "router": Router,
}


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of a recipe, for readers."""

    section: str
    name: str
    type: str
    default: str
    text: str


def recipe_reference() -> str:
    """The page, as Markdown."""
    lines = [_HEAD]
    titles = {name: str(cls.__doc__).split("\n")[0] for name, cls in _SECTIONS.items()}
    titles["expert"] = "How an expert comes from the base; which keys count depends on `kind`."
    keys = list(recipe_keys())
    for section in dict.fromkeys(key.section for key in keys):
        lines += [
            f"## `[{section}]`",
            "",
            titles[section],
            "",
            "| key | type | default | meaning |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{key.name}` | {key.type} | {key.default} | {key.text} |" for key in keys if key.section == section
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def recipe_keys() -> Iterator[Key]:
    """Every key, section by section, in the order of the dataclasses."""
    for section, cls in _SECTIONS.items():
        yield from _keys(section, cls)
        if section == "train":
            yield from _expert_keys()


def _expert_keys() -> Iterator[Key]:
    """Keys of all kinds of expert, each once."""
    kinds = [EXPERT_KINDS.find(name) for name in EXPERT_KINDS.names()]
    names = ", ".join(f'`"{kind.name()}"`' for kind in kinds)
    found = {key.name: key for kind in kinds for key in _keys("expert", kind) if key.name in kind.options()}
    for name, key in found.items():
        yield dataclasses.replace(key, type=names, default='`"full"`') if name == "kind" else key


def _keys(section: str, cls: type) -> Iterator[Key]:
    hints = get_type_hints(cls)
    docs = {name: text for base in reversed(cls.__mro__[:-1]) for name, text in _docs_of(base).items()}
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[item.name]) or _is_table(hints[item.name]):
            continue  # a section of its own
        text = docs.get(item.name, "").replace("|", "\\|").replace("<", "&lt;").replace("None: ", "Without it: ")
        yield Key(section, item.name, _type(hints[item.name]), _default(item), text)


def _docs_of(cls: type) -> dict[str, str]:
    return field_docs(cls) if dataclasses.is_dataclass(cls) else {}


def _is_table(hint: Any) -> bool:
    return any(dataclasses.is_dataclass(part) for part in get_args(hint))


def _type(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(f'`"{value}"`' for value in get_args(hint))
    parts = [part for part in get_args(hint) if part is not NoneType]
    match get_origin(hint):
        case None:
            return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}[hint.__name__]
        case origin if origin is tuple:
            return f"list of {_type(parts[0])}"
        case origin if origin is dict:
            return "table of language = number"
    choices = [_type(part) for part in parts[1:] if get_origin(part) is Literal]
    return " or ".join([_type(parts[0]), *choices])


def _default(item: dataclasses.Field[Any]) -> str:
    """The default as TOML."""
    if item.default_factory is not dataclasses.MISSING:
        return "–"
    if item.default is dataclasses.MISSING:
        return "required"
    if item.default is None:
        return "–"
    if isinstance(item.default, tuple):
        return f"`{list(item.default)}`"
    return f"`{str(item.default).lower()}`" if isinstance(item.default, bool) else _toml(item.default)


def _toml(value: Any) -> str:
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    print(recipe_reference(), end="")
