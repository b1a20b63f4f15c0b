"""Drawing the labelled rows of the target."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from xelm.transferring.cells import Cell
from xelm.transferring.data.examples import Example


def draw_shots(rows: Sequence[Example], cell: Cell, *, per_class: bool) -> list[Example]:
    """Some rows of the target, the same for every technique, model and source; fewer shots are part of more.

    Args:
        rows: Its labelled training rows.
        cell: Number of shots, draw and seed.
        per_class: Whether they are counted in each class. A sentence of many words counts for its rarest one.

    Returns:
        The rows, in the order in which they were drawn.
    """
    if not cell.shots:
        return []
    order = list(range(len(rows)))
    random.Random(repr(cell.rng_key("shots", cell.target))).shuffle(order)
    if not per_class:
        return [rows[place] for place in order[: cell.shots]]
    sizes = Counter(label for row in rows for label in row.labels if label is not None)
    taken: Counter[str] = Counter()
    found = []
    for place in order:
        rarest = min(
            (label for label in rows[place].labels if label is not None), key=lambda label: (sizes[label], label)
        )
        if taken[rarest] < cell.shots:
            taken[rarest] += 1
            found.append(rows[place])
    return found
