"""The recipe as a run keeps it: no folder of the machine that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xelm.recipe.recipe import Recipe


def portable(name: str) -> str:
    """The last name of an absolute path; any other string is returned unchanged."""
    return Path(name).name if Path(name).is_absolute() else name


def portable_recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the manifest keeps it: every field, relative paths as written, absolute ones by their last name.

    Args:
        recipe: As it was read, so that the same recipe in two folders gives the same run.
    """
    table = recipe.to_dict()
    table["data"]["path"] = portable(table["data"]["path"])
    for section, key in (("base", "model"), ("data", "pairs"), ("clusters", "plan"), ("clusters", "effects")):
        if table[section][key]:
            table[section][key] = portable(table[section][key])
    name, colon, file = table["router"]["identifier"].partition(":")
    table["router"]["identifier"] = name + colon + portable(file)
    return table
