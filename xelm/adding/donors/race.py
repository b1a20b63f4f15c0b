"""The rules of a trial: which starts go on after each look, judged on the same held-out text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SHARE = 0.2
"""Default share of the budget that a trial of one start takes."""
MOST_SHARE = 0.25
"""Largest such share: two losers that are raised, and the winner, must fit into the budget."""
_LOOKS = (1 / 8, 1 / 4, 1 / 2, 1.0, 5 / 4, 3 / 2)
"""When starts are compared, as parts of the share; the last two are for ties."""
_SURELY = 2.0
"""Standard errors of a difference from which on it counts as one."""


@dataclass(frozen=True)
class Looks:
    """The optimizer steps after which the starts are compared.

    Attributes:
        steps: In order, after 0 (before any training).
        full: Position in `steps` of the end of the share that each start gets; later looks are for ties.
    """

    steps: tuple[int, ...]
    full: int

    @classmethod
    def of(cls, num_steps: int, share: float) -> Looks | None:
        """The looks of a budget; None if the share is not one step."""
        end = int(share * num_steps + 1e-9)  # 0.2 of 5 steps is one, whatever the product rounds to
        if end < 1:
            return None
        most = (num_steps - end) // 2  # one loser at the end of its share, one tied to the last, and the winner
        steps = sorted({max(1, min(most, round(end * part))) for part in _LOOKS} | {end})
        return cls((0, *steps), 1 + steps.index(end))

    @property
    def last(self) -> int:
        """Position of the last look."""
        return len(self.steps) - 1


def staying(nats: Mapping[str, Sequence[np.ndarray]], look: int, looks: Looks) -> list[str]:
    """The starts that go on after a look, the best first; one alone is the winner.

    Within its share, a start is given up early if it is surely behind and is not catching up: if it would still be
    behind at the next look, were the distance to change by as much as since the last one. What it would have cost goes
    to the winner. At the end of the share, all are given up but the best one, and the next if it lies within one
    standard error of it.

    Args:
        nats: Start -> at each look so far, nats of each piece of text, shape (P,).
        look: The look, from 1.
        looks: The plan of looks.
    """
    best, *others = sorted(nats, key=lambda name: (float(nats[name][look].sum()), name))
    if look == looks.last:
        return [best]
    if look >= looks.full:
        return [best, *(name for name in others[:1] if _is_tied(*behind(nats[best][look], nats[name][look])))]
    stay = [best]
    for name in others:
        gap, error = behind(nats[best][look], nats[name][look])
        before, _ = behind(nats[best][look - 1], nats[name][look - 1])
        if not (gap > _SURELY * error and gap + (gap - before) > 0):
            stay.append(name)
    return stay


def behind(best_P: np.ndarray, other_P: np.ndarray) -> tuple[float, float]:
    """How much more one start costs than another, as a share, and the standard error over pieces of text.

    Args:
        best_P: Nats of each of P pieces.
        other_P: The same of the other start.

    Returns:
        `other / best - 1` of the sums, and its error (linearised); infinite for one piece.
    """
    number, ratio = len(best_P), float(other_P.sum() / best_P.sum())
    if number < 2:
        return ratio - 1, float("inf")
    residuals_P = other_P - ratio * best_P
    return ratio - 1, float(np.sqrt(number / (number - 1) * (residuals_P**2).sum()) / best_P.sum())


def _is_tied(gap: float, error: float) -> bool:
    return gap <= error
