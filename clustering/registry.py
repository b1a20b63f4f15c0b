"""Concepts found by name: those of xelm, one file each in a folder, and those that installed packages add."""

from __future__ import annotations

import difflib
import logging
import pkgutil
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from clustering.errors import BadInput

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Registry(Generic[T]):
    """The registered objects of one concept, by name.

    Ours are registered by a decorator when the modules of one package are imported, so a new one is one new file there.
    Other packages name a module by an entry point, which does the same. Both are imported when a name is first needed.

    Args:
        what: The concept in the singular, for messages ("kind of expert").
        package: The package whose modules register ours, such as `xelm.kinds`.
        group: The entry points' group, such as `xelm.expert_kinds`.
    """

    def __init__(self, what: str, *, package: str, group: str) -> None:
        self.what = what
        self._package = package
        self._group = group
        self._found: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str, thing: T) -> T:
        """Enter a thing under its name.

        Raises:
            BadInput: If another thing has that name.
        """
        there = self._found.get(name)
        if there is not None and _origin(there) != _origin(thing):
            raise BadInput(f"two {self.what}s are called '{name}': {_origin(there)} and {_origin(thing)}.")
        self._found[name] = thing
        return thing

    def named(self, name: str) -> Callable[[T], T]:
        """A decorator that registers the decorated object."""
        return lambda thing: self.register(name, thing)

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._found)

    def has(self, name: str) -> bool:
        """Whether something has that name."""
        if name not in self._found:
            self._load()
        return name in self._found

    def find(self, name: str, where: str | None = None) -> T:
        """The thing of a name.

        Args:
            name: Its name.
            where: The place where the user wrote it, such as `[expert] kind`; None: the concept.

        Raises:
            BadInput: If nothing has that name; the message suggests near names.
        """
        if not self.has(name):
            near = difflib.get_close_matches(str(name), self._found, n=1)
            hint = f" ({near[0]}?)" if near else ""
            raise BadInput(f"{where or self.what} = {name!r}: choose {' or '.join(self.names())}{hint}.")
        return self._found[name]

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for module in pkgutil.iter_modules(import_module(self._package).__path__):
            import_module(f"{self._package}.{module.name}")
        for entry in entry_points(group=self._group):
            try:
                entry.load()
            except Exception as error:  # a fault in another package must not stop xelm
                logger.warning("%s '%s' of an installed package cannot be used: %s", self.what, entry.name, error)


def _origin(thing: object) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
