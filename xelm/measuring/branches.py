"""The short branches by which effects are measured: two sizes for each language, within a share of the budget."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clustering.errors import BadInput, arg
from clustering.languages.codes import match
from xelm.trials.blocks import blocks_of_budget
from xelm.trials.place import Place, Trial

DEFAULT_SHARE = 0.05
_SHORTER = 0.2
"""Share of a language's part that its shorter branch gets; the longer one gets the rest."""
_STEPS = 12
"""Optimizer steps that a longer branch should have: with fewer, batches are made smaller."""
_TWO_SIZES = 3
"""Fewest optimizer steps of a language that are divided into two branches."""


@dataclass(frozen=True)
class Branches:
    """Branches of every language, and of all of them together."""

    longer: dict[str, Trial]
    shorter: dict[str, Trial]
    """Branches of the languages whose part is enough for two sizes; empty for fewer than two such languages."""
    sequence_length: int
    joint: bool = True
    """Whether all languages are trained together too, on the blocks of their own branches."""

    @property
    def together(self) -> dict[str, Trial]:
        """One training on the blocks of all longer branches and one on those of all shorter ones, if wanted."""
        sizes = {"longer": self.longer, "shorter": self.shorter}
        return {name: _together(trials) for name, trials in sizes.items() if self.joint and len(trials) > 1}

    def all(self) -> list[Trial]:
        """All trainings, the longest first."""
        return [*self.together.values(), *self.longer.values(), *self.shorter.values()]

    def tokens(self, branches: Mapping[str, Trial]) -> dict[str, int]:
        """Tokens of each language's branch."""
        return {code: sum(trial.blocks) * self.sequence_length for code, trial in branches.items()}

    @property
    def total(self) -> int:
        """Tokens of all branches."""
        return sum(sum(trial.blocks) for trial in self.all()) * self.sequence_length


def _together(trials: Mapping[str, Trial]) -> Trial:
    codes = tuple(sorted(trials))
    batch_size = trials[codes[0]].batch_size
    return Trial(codes, tuple(sum(trials[code].blocks) for code in codes), batch_size, "valid", codes)


def plan_branches(
    place: Place,
    share: float = DEFAULT_SHARE,
    only: Sequence[str] | None = None,
    *,
    joint: bool = True,
    for_plan: bool = False,
) -> Branches:
    """Share out a part of the budget in the proportions of the whole; a fifth of each language's is a shorter branch.

    Args:
        place: The place with the recipe's text and budget.
        share: Share of the budget, in (0, 0.5], for the branches of single languages.
        only: Languages to train on, by any code or name; None: all. All are read in any case.
        joint: Whether to train on all of them together too. It takes the same part again and shows whether to split.
        for_plan: Whether only a plan is to be made: then there is no training together, and the shorter branches are
            all there is, a fifth of the share, if every language has one.

    Raises:
        BadInput: If the share is out of range, or there is no text of a language.
    """
    if not 0 < share <= 0.5:
        raise BadInput(
            f"{arg('share', share)} of the budget for measuring: choose more than 0, at most 0.5; 0.05 is usual."
        )
    whole = blocks_of_budget(place.recipe.train, place.num_blocks, place.sequence_length)
    part = {code: share * blocks for code, blocks in whole.items()}
    usual = statistics.median((1 - _SHORTER) * blocks for blocks in part.values())
    batch = max(1, min(place.recipe.train.batch_size, int(usual / _STEPS)))
    steps = {code: max(1, int(blocks / batch)) for code, blocks in part.items()}
    short = {code: max(1, round(_SHORTER * count)) if count >= _TWO_SIZES else 0 for code, count in steps.items()}
    if sum(count > 0 for count in short.values()) < 2:
        short = dict.fromkeys(steps, 0)
    reads = tuple(place.codes)
    codes = place.codes if only is None else [_code(language, place.codes) for language in only]

    def branch(code: str, count: int) -> Trial:
        return Trial((code,), (count * batch,), batch, "valid", reads)

    longer = {code: branch(code, steps[code] - short[code]) for code in codes}
    shorter = {code: branch(code, short[code]) for code in codes if short[code]}
    if for_plan and len(shorter) == len(codes):
        longer, shorter = shorter, {}
    return Branches(longer, shorter, place.sequence_length, joint and only is None and not for_plan)


def _code(language: str, codes: Sequence[str]) -> str:
    found = match(language, codes)
    if found is None:
        raise BadInput(f"{arg('only', language)}: no text of it. There is: {', '.join(codes)}.")
    return found
