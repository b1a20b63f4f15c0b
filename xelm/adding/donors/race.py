"""The rules of a trial: which starts go on after each look, judged on the same held-out text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SHARE = 0.2
"""Default share of the budget that a trial of one start takes."""
MOST_SHARE = 0.25
"""Largest such share: two losers that are raised, and the winner, must fit into the budget."""
FEWEST_STEPS = 4
"""Fewest steps before the first look. A share that is fewer of the training's own steps is not worth a trial either:
the steps that losers take cost the winner more than a better start brings it (experiments/new_language)."""
_LOOKS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 5 / 4, 3 / 2)
"""When starts are compared, as parts of the share; the last two are for ties."""
_PRICE = 1 / 8
"""Rise of the winner's loss for each part of its budget that trials take: 2.7 % of the tokens cost 0.35 % of the bits
in the mean (experiments/new_language)."""
_AGAIN = 0.5
"""Part of the fall of the log loss since the last look that is expected until the next."""
_SURELY = 2.0
"""Standard errors of a difference from which on it counts as one."""


@dataclass(frozen=True)
class Looks:
    """The optimizer steps after which the starts are compared.

    Attributes:
        steps: In order, after 0 (before any training).
        full: Position in `steps` of the end of the share that each start gets; later looks are for ties.
        budget: Steps of such a size in the whole budget.
    """

    steps: tuple[int, ...]
    full: int
    budget: int

    @classmethod
    def of(cls, num_steps: int, share: float) -> Looks:
        """The looks of a budget of so many steps, of which a share of at least `FEWEST_STEPS` is for each start."""
        end = int(share * num_steps + 1e-9)
        most = (num_steps - end) // 2  # one loser at the end of its share, one tied to the last, and the winner
        steps = sorted({max(FEWEST_STEPS, min(most, round(end * part))) for part in _LOOKS} | {end})
        return cls((0, *steps), 1 + steps.index(end), num_steps)

    @property
    def last(self) -> int:
        """Position of the last look."""
        return len(self.steps) - 1

    def price(self, look: int) -> float:
        """What it costs the winner's loss, as a share, that one other start goes on to the next look."""
        return _PRICE * (self.steps[look + 1] - self.steps[look]) / self.budget


@dataclass(frozen=True)
class Standing:
    """How the starts stand after a look."""

    best: str
    behind: dict[str, float]
    """Start -> how much more bits than the best one, as a share: expected at the next look; at the end, measured."""
    errors: dict[str, float]
    """Start -> standard error of the difference to the best one."""
    staying: list[str]
    """The starts that go on, the best one first; one alone is the winner."""


def judge(nats: Mapping[str, Sequence[np.ndarray]], look: int, looks: Looks, *, blind: float = math.inf) -> Standing:
    """Which starts go on after a look.

    What trials of losers cost is what the winner's training lacks, so a start is given up as soon as it is surely
    behind. Starts that were further off catch up first, so it is not the losses of the moment that are compared but
    those that are expected at the next look, which is twice as far: the logarithm of the loss falls by half as much
    again as since the last look. A start is given up if it is then expected to be behind by more than two standard
    errors of the difference, and has learned more by now than half of that. While the best one is worse than blind
    guessing, none is. At the end of its share, all are given up but the best one, and the next if it lies within one
    standard error of it. Whenever the next look costs the winner more than the best of the others may surely bring,
    they are given up too.

    Args:
        nats: Start -> at each look so far, nats of each piece of text, shape (P,).
        look: The look, from 1.
        looks: The plan of looks.
        blind: Nats of the whole text under blind guessing.
    """
    is_early = look < looks.full
    scores = {name: expected(of, look) if is_early else math.log(of[look].sum()) for name, of in nats.items()}
    best, *others = sorted(nats, key=lambda name: (scores[name], name))
    gaps = {name: math.expm1(scores[name] - scores[best]) for name in nats}
    errors = {name: behind(nats[best][look], nats[name][look])[1] for name in nats}
    if is_early:
        sees = float(nats[best][look].sum()) < blind
        learned = {name: 1 - float(of[look].sum() / of[0].sum()) for name, of in nats.items()}
        tells = {name: sees and learned[name] > gaps[name] / 2 for name in others}
        stay = [name for name in others if not (tells[name] and gaps[name] > _SURELY * errors[name])]
        known = all(tells[name] for name in stay)
    else:
        stay = [name for name in others[:1] if look < looks.last and gaps[name] <= errors[name]]
        known = True
    if stay and known:
        hope = max(_SURELY * errors[name] - gaps[name] for name in stay)
        stay = stay if hope > len(stay) * looks.price(look) else []
    return Standing(best, gaps, errors, [best, *stay])


def expected(nats: Sequence[np.ndarray], look: int) -> float:
    """Logarithm of the loss that is expected at the next look."""
    now, before = (math.log(nats[at].sum()) for at in (look, look - 1))
    return now + _AGAIN * (now - before)


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
