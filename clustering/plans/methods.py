"""Clustering methods, and how they are registered under a name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clustering.errors import BadInput
from clustering.registry import Registry

Need = Literal["distances", "texts", "effects"]
"""The evidence that a method groups by: distances of any kind, distances between texts, or measured effects."""


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
    """The evidence on the L languages to group, in row order.

    Attributes:
        distances: Shape (L, L), in [0, 1], symmetric, zero diagonal.
        effects: Effects of training on each language (row) on every other, shape (L, L); None if not measured.
    """

    distances: np.ndarray
    effects: np.ndarray | None = None


Group = Callable[[Evidence, int], Grouping]
"""A function from the evidence and K (1..L) to groups."""


@dataclass(frozen=True)
class Method:
    """A way to group."""

    name: str
    """Its name in `cluster_languages(method=…)`, `xelm cluster --method` and `[clusters] method`."""
    group: Group
    about: str = ""
    """A few words for `xelm cluster --help`."""
    needs: Need = "distances"
    """`texts`: distances between the languages' texts, unless others are given; `effects`: measured ones."""
    distance: str = "combined"
    """Kind of distance that is measured if none is given."""
    keeps_order: bool = False
    """Whether ties go by the order in which languages were given, and clusters keep the order in which they were made;
    otherwise languages are sorted, and clusters come largest first."""
    own_sizes: bool = False
    """Whether the method decides the sizes itself, so that `balance` is refused."""


METHODS: Registry[Method] = Registry("clustering method", package="clustering.plans", group="xelm.clustering_methods")


def method(name: str, **traits: Any) -> Callable[[Group], Group]:
    """Decorator: register a grouping function under a name.

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
        BadInput: If there is none; the message names the nearest one and lists all.
    """
    if METHODS.has(name):
        return METHODS.find(name)
    near = difflib.get_close_matches(str(name), METHODS.names(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BadInput(f"Unknown clustering method {name!r}.{hint} Methods: {', '.join(METHODS.names())}.")


def methods_in_words() -> str:
    """Every method with a short description, for `--help`."""
    found = [METHODS.find(name) for name in METHODS.names()]
    return "; ".join(f"{method.name} ({method.about})" if method.about else method.name for method in found)
