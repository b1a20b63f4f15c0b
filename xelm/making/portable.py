"""The recipe as a run keeps it: no folder of the machine that made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xelm.recipe.recipe import Recipe


def portable(name: str) -> str:
    """Of an absolute path the last name; anything else as it is."""
    return Path(name).name if Path(name).is_absolute() else name


def portable_recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the manifest keeps it: every field, paths as they were written, of absolute ones the last name.

    Args:
        recipe: As it was read, so that the same recipe in two folders gives the same run.
    """
    table = recipe.to_dict()
    table["data"]["path"] = portable(table["data"]["path"])
    for section, key in (("base", "model"), ("clusters", "plan"), ("clusters", "effects")):
        if table[section][key]:
            table[section][key] = portable(table[section][key])
    name, colon, file = table["router"]["identifier"].partition(":")
    table["router"]["identifier"] = name + colon + portable(file)
    return table
