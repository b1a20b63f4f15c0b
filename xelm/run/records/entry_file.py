"""The entry that a finished model keeps beside its weights, as the manifest holds it too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clustering.errors import BadInput
from clustering.files import read_json

ENTRY_FILE = "xelm_model.json"


def read_entry(file: Path) -> dict[str, Any]:
    """Read a model's entry.

    Raises:
        BadInput: If the file is missing or damaged, or no JSON object.
    """
    value = read_json(file)
    if not isinstance(value, dict):
        raise BadInput(f"{file}: damaged, no entry of a model.")
    return value
