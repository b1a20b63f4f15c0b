"""Methods that cut languages into groups, found by name; each is a function of distances and K."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clustering.errors import BadInput


@dataclass(frozen=True)
class Grouping:
    """Groups of rows of a distance matrix.

    Attributes:
        groups: K lists of row numbers; every row is in exactly one, none is empty.
        linkage: The merges that lead from single rows to one group, shape (L - 1, 4), as scipy writes them.
    """

    groups: list[list[int]]
    linkage: np.ndarray


@dataclass(frozen=True)
class Method:
    """A way to group.

    Attributes:
        name: What `cluster_languages(method=…)` and `xelm cluster --method` call it.
        group: From distances, shape (L, L), and K (1..L) to a `Grouping`.
        keeps_order: Whether ties go by the order in which languages were given; others see them sorted.
    """

    name: str
    group: Callable[[np.ndarray, int], Grouping]
    keeps_order: bool


METHODS: dict[str, Method] = {}


def method(
    name: str, *, keeps_order: bool = False
) -> Callable[[Callable[[np.ndarray, int], Grouping]], Callable[[np.ndarray, int], Grouping]]:
    """Decorator: make a grouping function known under `name`."""

    def register(group: Callable[[np.ndarray, int], Grouping]) -> Callable[[np.ndarray, int], Grouping]:
        METHODS[name] = Method(name, group, keeps_order)
        return group

    return register


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        BadInput: If there is none; the message offers the nearest and the list.
    """
    from clustering.plans import documents, hierarchy, pairs  # noqa: F401  (they register themselves)

    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BadInput(f"Unknown clustering method {name!r}.{hint} Methods: {', '.join(sorted(METHODS))}.")
