"""Ready-made language identifiers, and how they are registered under a name.

A recipe names one as `[router] identifier = "lingua"`, or `"fasttext:model.bin"` where it reads a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clustering.errors import BadInput
from clustering.registry import Registry
from router.identify.protocol import LanguageIdentifier

Make = Callable[[Sequence[str] | None, Path | None], LanguageIdentifier]
"""A function from the codes to answer for (None: all that it knows) and the model file to an identifier."""


@dataclass(frozen=True)
class Backend:
    """A ready-made identifier."""

    name: str
    make: Make
    about: str = ""
    """A few words for the reference of the recipe's keys."""
    takes_file: bool = False
    """Whether it reads a file, of which a run then keeps a copy."""


BACKENDS: Registry[Backend] = Registry("language identifier", package="router.backends", group="xelm.identifiers")


def identifier(name: str, *, about: str = "", takes_file: bool = False) -> Callable[[Make], Make]:
    """Decorator: register a function as a ready-made identifier.

    A new one is one file: such a function, in `router/backends` or in an installed package that names the module under
    the entry points `xelm.identifiers`.

    Args:
        name: Its name in `[router] identifier`.
        about: See `Backend`.
        takes_file: See `Backend`.
    """

    def register(make: Make) -> Make:
        BACKENDS.register(name, Backend(name, make, about, takes_file))
        return make

    return register


def make_identifier(spec: str, languages: Sequence[str] | None = None) -> LanguageIdentifier:
    """Build a ready-made identifier.

    Args:
        spec: Its name, or `name:path` if it reads a file.
        languages: The codes to answer for, if it knows them; None for all that it knows.

    Raises:
        BadInput: If the name is unknown, a package or file is missing, or none of `languages` is known to it.
    """
    backend, file = read_spec(spec)
    return backend.make(languages, file)


def read_spec(spec: str) -> tuple[Backend, Path | None]:
    """A backend and its file, from `name` or `name:path`.

    Raises:
        BadInput: If there is no such backend, its file is missing, or a file is given to one that reads none.
    """
    name, _, path = spec.partition(":")
    backend = BACKENDS.find(name, "identifier")
    if not backend.takes_file:
        if path:
            raise BadInput(f"identifier = {spec!r}: {name} reads no file. Write {name!r}.")
        return backend, None
    if not path or not Path(path).is_file():
        missing = f"{path}: no such file. " if path else ""
        raise BadInput(f"identifier = {spec!r}: {missing}{name} reads a model file: write {name + ':PATH'!r}.")
    return backend, Path(path)


def missing_package(name: str, package: str) -> BadInput:
    """The error for a backend whose package is not installed."""
    return BadInput(f"The identifier {name!r} needs the package {package}. Install it: pip install {package}")
