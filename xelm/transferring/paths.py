"""Paths in a recipe."""

from __future__ import annotations

from pathlib import Path


def anchor(name: str, folder: Path) -> str:
    """A path of a recipe, from the recipe's folder on; a hub id stays one where no such path exists."""
    candidate = (folder / Path(name).expanduser()).resolve()
    if candidate.exists() or name.startswith((".", "/", "~")) or name.endswith("/"):
        return str(candidate)
    return name
