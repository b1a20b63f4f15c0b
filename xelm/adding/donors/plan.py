"""Which starts of an addition are tried, and for how many tokens: the plan, its bill, and how its outcome is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clustering.languages.codes import name_of
from xelm.adding.donors.race import FEWEST_STEPS, Looks
from xelm.adding.donors.signals import Signals, likeliest
from xelm.adding.request import Addition
from xelm.run.names import is_expert
from xelm.run.records.ledger import DonorCandidate, DonorTrial

_MOST_STEPS = 256
"""Steps of a start's share at most. Small steps show with few tokens how fast a start learns: after sixteen steps of
256 tokens starts stood as at the end, where four steps of 4,096 had to be taken (experiments/new_language)."""


@dataclass(frozen=True)
class Budget:
    """What a training may read.

    Attributes:
        num_steps: Optimizer steps.
        batch_size: Blocks of a step.
        block_tokens: Tokens of a block.
        recipe_batch: Blocks of a step of the recipe, where a small budget is read in smaller ones; None: as many.
    """

    num_steps: int
    batch_size: int
    block_tokens: int
    recipe_batch: int | None = None

    @property
    def num_blocks(self) -> int:
        """Blocks in all."""
        return self.num_steps * self.batch_size

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.num_blocks * self.block_tokens

    @property
    def recipe_steps(self) -> int:
        """How many steps of the recipe's size it is worth."""
        return max(1, self.num_blocks // (self.recipe_batch or self.batch_size))

    def trial_batch(self, share: float) -> int:
        """Blocks of a step of a trial that may read this share of all: at least one, at most those of any step."""
        return max(1, min(self.batch_size, round(share * self.num_blocks / _MOST_STEPS)))

    def looks(self, share: float) -> Looks | None:
        """The looks of such a trial; None if the share is fewer than `FEWEST_STEPS` steps of the recipe's size."""
        # 0.2 of 5 steps is one, whatever the product rounds to.
        if int(share * self.recipe_steps + 1e-9) < FEWEST_STEPS:
            return None
        return Looks.of(self.num_blocks // self.trial_batch(share), share)


@dataclass(frozen=True)
class TrialPlan:
    """The starts that are tried, the likeliest first, when they are compared, and in which steps they learn."""

    starts: list[str]
    looks: Looks
    batch_size: int
    """Blocks of a step."""


def plan_trials(addition: Addition, candidates: Sequence[DonorCandidate], budget: Budget) -> TrialPlan | None:
    """The trials of an addition; None if its donor is named, or there is nothing to try or too little to try it with.

    Args:
        addition: The request.
        candidates: All models of the run with their signals.
        budget: Of the whole addition.
    """
    if addition.donor != "auto" or not addition.trial:
        return None
    fit = [c for c in candidates if addition.kind == "new" or is_expert(c.name)]
    starts, looks = likeliest(fit), budget.looks(addition.trial)
    return TrialPlan(starts, looks, budget.trial_batch(addition.trial)) if looks and len(starts) > 1 else None


def why_untried(addition: Addition, budget: Budget) -> str:
    """A sentence on why an addition that asks for trials has none; empty if it asks for none."""
    if addition.donor != "auto" or not addition.trial:
        return ""
    if budget.looks(addition.trial) is None:
        steps = f"{budget.recipe_steps} optimizer step{'s' if budget.recipe_steps > 1 else ''}"
        return f" No start was tried: {addition.trial:g} of a budget of {steps} is less than {FEWEST_STEPS}."
    return " There is no other start to try."


def reason_of(tried: Sequence[DonorTrial], candidates: Sequence[DonorCandidate], language: str) -> str:
    """Why the winner of the trials is the donor, and what each signal alone would have chosen."""
    winner, *others = tried
    beaten = ", ".join(
        f"{one.name} overflowed" if one.behind_percent is None else f"{one.name} {one.behind_percent:+.1f} %"
        for one in others
    )
    signals = Signals.of([c for c in candidates if is_expert(c.name)])
    by = signals.alone()
    alone = f"Alone, loss would have chosen {by['loss']}"
    if by["typology"]:
        nearest = name_of(signals.by_typology.nearest or "") if signals.by_typology else ""
        alone += f", typology {by['typology']} (nearest: {nearest})"
    alone += f", overlap {by['overlap']}." if by["overlap"] else "."
    unknown = "" if by["typology"] else f" URIEL does not know {name_of(language)}."
    none = "" if by["overlap"] else " It shares no words with any expert's languages."
    return (
        f"{winner.name} promised most when {len(tried)} starts were tried ({winner.bits_per_byte[-1]:.3f} bits per "
        f"byte of held-out text after {winner.tokens[-1]:,} tokens; {beaten}). {alone}{unknown}{none}"
    )


@dataclass(frozen=True)
class AdditionBill:
    """What an addition would train, and with how many tokens."""

    language: str
    budget_tokens: int
    """All tokens of the addition, trials and expert together."""
    donor: str
    """The donor, if it is settled before training; otherwise the likeliest one."""
    reason: str
    candidates: list[DonorCandidate]
    starts: list[str]
    """Starts that are tried; empty if none is."""
    trial_tokens: int
    """Tokens of one start's trial at most, unless the two best are tied."""
    tied_tokens: int
    """The same if they are tied."""
    fewest_tokens: int
    """Tokens of the finished expert if the trials cost as much as they can; as many as the budget without trials."""

    @classmethod
    def of(
        cls,
        addition: Addition,
        choice: tuple[str, str, Sequence[DonorCandidate]],
        plan: TrialPlan | None,
        budget: Budget,
    ) -> AdditionBill:
        """Of a planned addition; `choice` is the donor by the signals alone, the reason, and all candidates."""
        donor, reason, candidates = choice
        tokens = budget.tokens
        if plan is None:
            return cls(addition.language, tokens, donor, reason, [*candidates], [], 0, 0, tokens)
        full, last = (plan.looks.steps[at] * plan.batch_size for at in (plan.looks.full, -1))
        losers = last + (len(plan.starts) - 2) * full
        fewest = last + (budget.num_blocks - losers - last) // budget.batch_size * budget.batch_size
        return cls(
            addition.language,
            tokens,
            plan.starts[0],
            reason,
            [*candidates],
            plan.starts,
            full * budget.block_tokens,
            last * budget.block_tokens,
            fewest * budget.block_tokens,
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Lines for the terminal."""
        lines = [f"{name_of(self.language)} ({self.language}): {self.budget_tokens:,} tokens in all"]
        if not self.starts:
            return "\n".join([*lines, f"from {self.donor}, without trials. {self.reason}"])
        return "\n".join(
            [
                *lines,
                f"trials: {', '.join(self.starts)}, at most {self.trial_tokens:,} tokens each "
                f"({self.tied_tokens:,} if the two best cannot be told apart); one that is surely behind stops earlier",
                f"the best start goes on with what is left: at least {self.fewest_tokens:,} tokens for its expert",
            ]
        )
