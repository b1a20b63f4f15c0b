"""JSON of a run read into dataclasses: a run may come from anybody, so every value is checked."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

from clustering.errors import BadInput
from clustering.files import read_json, write_text

STRICT: Any = {"extra": "forbid", "allow_inf_nan": False}
"""`__pydantic_config__` of a dataclass that is read: unknown keys are refused, and numbers must be numbers."""
Read = TypeVar("Read")


def read_as(kind: type[Read], file: Path, value: Any = None) -> Read:
    """Read a JSON file as a dataclass of standard types and other such dataclasses.

    Args:
        kind: The dataclass; its `__post_init__` may raise ValueError for values that do not fit.
        file: The file.
        value: Its content, if that was read before.

    Raises:
        BadInput: If the file is missing or no JSON, or a key is missing, unknown or of another type; the message names
            the first such key.
    """
    from pydantic import ValidationError

    try:
        adapter = _adapter_of(kind)  # type: ignore[arg-type]  # classes are hashable
        found: Read = adapter.validate_python(read_json(file) if value is None else value)
        return found
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = first["msg"].removeprefix("Value error, ")
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BadInput(f"{file}: damaged, or written by another version of xelm: {place}: {why}.") from None


class KeptAsJson:
    """A result that is kept as JSON: a dataclass with `to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        raise NotImplementedError

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the JSON.

        Args:
            path: The file.
        """
        write_text(path, self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Args:
            path: The file.

        Raises:
            BadInput: If it is missing or damaged.
        """
        return read_as(cls, Path(path))


@cache
def _adapter_of(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
