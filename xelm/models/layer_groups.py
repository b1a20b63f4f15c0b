"""Groups of a model's weights by layer: `embedding`, each decoder layer by its number, and `other` (final norm, head).

A selector names some of them: `embedding`, `other`, `layers` (all decoder layers), `3`, `0-2`, or a pattern of
parameter names such as `*.mlp.*`. A head that is tied to the embedding is in its group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from clustering.errors import BadInput

EMBEDDING, OTHER, LAYERS = "embedding", "other", "layers"
UNREAD = "unread"
"""Not a selector of whole weights: the rows of the vocabulary that stand for pieces which an expert never read."""
_LAYER = re.compile(r"\.(?:layers|layer|h|blocks|block)\.(\d+)\.")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def layer_of(name: str) -> str:
    """The layer of a weight by its name: its number, `embedding`, or `other` (final norm, head)."""
    found = _LAYER.search(f".{name}")
    if found:
        return found[1]
    return EMBEDDING if "embed" in name or ".wte." in f".{name}" else OTHER


def layer_order(layer: str) -> tuple[bool, bool, int]:
    """A key that sorts layers as they lie in the model: embedding, numbers, other."""
    return layer == OTHER, layer != EMBEDDING, int(layer) if layer.isdigit() else 0


def selects(selector: str, name: str) -> bool:
    """Whether a selector names a weight."""
    layer = layer_of(name)
    if selector in (EMBEDDING, OTHER):
        return layer == selector
    if selector == LAYERS:
        return layer.isdigit()
    if found := _RANGE.fullmatch(selector):
        return layer.isdigit() and int(found[1]) <= int(layer) <= int(found[2] or found[1])
    return fnmatchcase(name, selector)


def check_selectors(selectors: Iterable[str], names: Iterable[str], where: str) -> None:
    """Refuse selectors that name nothing.

    Args:
        selectors: Selectors.
        names: Names of a model's weights.
        where: The key or argument that holds them, for the message.

    Raises:
        BadInput: With what there is to name.
    """
    names = list(names)
    for selector in selectors:
        if not any(selects(selector, name) for name in names):
            layers = sorted({layer_of(name) for name in names}, key=layer_order)
            raise BadInput(
                f'{where}: "{selector}" names no weight of this model that trains. There are '
                f'{", ".join(layers)}; "{LAYERS}" is all decoder layers, "0-2" some, and "*.mlp.*" a pattern of names.'
            )
