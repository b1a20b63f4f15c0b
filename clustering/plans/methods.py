"""What a clustering method is, and how it becomes known by a name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clustering.errors import BadInput
from clustering.registry import Registry

Need = Literal["distances", "texts", "effects"]
"""What a method groups by: distances of any kind, distances between texts, or measured effects."""


@dataclass(frozen=True)
class Grouping:
    """Groups of rows of a distance matrix.

    Attributes:
        groups: K lists of row numbers; every row is in exactly one, none is empty.
        linkage: The merges that lead from single rows to one group, shape (L - 1, 4), as scipy writes them; None for a
            method that makes no tree.
    """

    groups: list[list[int]]
    linkage: np.ndarray | None


@dataclass(frozen=True)
class Evidence:
    """What is known of the L languages to group, in row order.

    Attributes:
        distances: Shape (L, L), in [0, 1], symmetric, zero diagonal.
        effects: What training on each language (row) does to every other, shape (L, L); None where it was not measured.
    """

    distances: np.ndarray
    effects: np.ndarray | None = None


Group = Callable[[Evidence, int], Grouping]
"""From what is known and K (1..L) to groups."""


@dataclass(frozen=True)
class Method:
    """A way to group."""

    name: str
    """What `cluster_languages(method=…)`, `xelm cluster --method` and `[clusters] method` call it."""
    group: Group
    about: str = ""
    """A few words for `xelm cluster --help`."""
    needs: Need = "distances"
    """`texts`: distances between the languages' texts, unless others are given; `effects`: measured ones."""
    distance: str = "combined"
    """Kind of distance that is measured where none is asked for."""
    keeps_order: bool = False
    """Whether ties go by the order in which languages were given, and clusters keep the order in which they were made;
    otherwise languages are sorted, and clusters come largest first."""
    own_sizes: bool = False
    """Whether sizes are part of the method, so that `balance` is refused."""


METHODS: Registry[Method] = Registry("clustering method", package="clustering.plans", group="xelm.clustering_methods")


def method(name: str, **traits: Any) -> Callable[[Group], Group]:
    """Decorator: make a grouping function known under a name.

    A new method is one file: such a function, in `clustering/plans` or in an installed package that names the module
    under the entry points `xelm.clustering_methods`.

    Args:
        name: Its name.
        traits: Fields of `Method`.
    """

    def register(group: Group) -> Group:
        METHODS.register(name, Method(name, group, **traits))
        return group

    return register


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        BadInput: If there is none; the message offers the nearest and the list.
    """
    if METHODS.has(name):
        return METHODS.find(name)
    near = difflib.get_close_matches(str(name), METHODS.names(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BadInput(f"Unknown clustering method {name!r}.{hint} Methods: {', '.join(METHODS.names())}.")


def methods_in_words() -> str:
    """Every method with a word on what it is, for `--help`."""
    found = [METHODS.find(name) for name in METHODS.names()]
    return "; ".join(f"{method.name} ({method.about})" if method.about else method.name for method in found)
