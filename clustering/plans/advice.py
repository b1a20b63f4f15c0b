"""Whether to split languages, and into how many clusters: advice from measured effects before tokens are spent.

Where measuring trained all languages together too, each with the blocks of its own branch, the two can be held against
each other: what a language gains alone is what experts gain at that size. It moves with the budget: short trainings are
worth more together, as every model then gains from more of anything. Two sizes show which way, on a straight line over
the logarithm of the tokens.

Without that, there is only the effects' sign: in one model for all, a language meets the effects of all others. That
overstates harm, since there its own text is read in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from clustering.plans.effects import Effects, Probe
from clustering.plans.measured import measured_plan, predicted_cost
from clustering.plans.plan import ClusterPlan

Verdict = Literal["split", "one", "undecided"]
_CERTAIN = 2.0
"""Standard errors by which a value must differ from 0 for its sign to be certain."""
_FARTHEST = math.log(1000)
"""Largest distance from the longer branches, as a logarithm of tokens, at which a break-even point is reported."""
_ENOUGH = 0.8
"""Share of the harm spared by one expert a language that the suggested number of clusters should spare."""


@dataclass(frozen=True)
class Row:
    """The result of one number of clusters.

    Attributes:
        k: Clusters.
        plan: The plan of least interference.
        cost: Sum of effects within clusters.
        spared: Mean over languages of the effects of languages in other clusters: above 0, splitting spares harm.
    """

    k: int
    plan: ClusterPlan
    cost: float
    spared: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"k": self.k, "clusters": self.plan.clusters, "cost": self.cost, "spared": self.spared}


@dataclass(frozen=True)
class Figure:
    """A mean over languages with its standard error, as a share of bits."""

    value: float
    error: float

    @property
    def is_certain(self) -> bool:
        """Whether its sign is certain."""
        return abs(self.value) >= _CERTAIN * self.error and self.value != 0

    @property
    def sign(self) -> int:
        """1 or -1 where it is certain, else 0."""
        return int(math.copysign(1, self.value)) if self.is_certain else 0

    def __str__(self) -> str:
        return f"{100 * self.value:+.2f} % (standard error {100 * self.error:.2f})"


@dataclass(frozen=True)
class Advice:
    """Whether to split.

    Attributes:
        verdict: `split`, `one` (a single model for all), or `undecided`.
        k: Clusters suggested: 1 unless the verdict is `split`.
        effect: Mean effect of a language on another, above 0 for harm.
        gain: What a language gains alone against all together, at the longer branches' tokens; None if not measured.
        expected: That gain at the whole budget, on the line through both sizes; None where one was measured.
        tokens: Tokens of a longer branch, mean over languages.
        turns_at: Tokens a language at which the line changes sign; None if it does not, or there is no line.
        budget: Tokens a language of the training that is planned; None if not known.
        rows: One for each number of clusters.
        learning: Change of a language's bits by training on all together, at the longer branches' tokens; None if not
            measured.
    """

    verdict: Verdict
    k: int
    effect: Figure
    gain: Figure | None
    expected: Figure | None
    tokens: float
    turns_at: float | None
    budget: float | None
    rows: list[Row]
    learning: Figure | None = None

    @property
    def still_learns(self) -> bool:
        """Whether text of all languages together surely still lowers the bits."""
        return self.learning is not None and self.learning.sign < 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(replace(self, rows=[])), "rows": [row.to_dict() for row in self.rows]}

    def sentences(self) -> list[str]:
        """The advice in words."""
        harm = "harm" if self.effect.value > 0 else "help"
        lines = [
            f"After {self.tokens:,.0f} tokens of one language the bits of another change by {self.effect}: "
            f"languages {harm} each other when they are trained one at a time."
        ]
        if self.gain:
            lines.append(f"Alone instead of all together, at as many tokens each, a language gains {self.gain}.")
        if self.still_learns:
            lines.append(
                f"Training on all together changes the bits by {self.learning}: the base still learns from text of any "
                "language, and while it does, experts give that up."
            )
        if self.expected and self.budget:
            lines.append(
                f"Carried on from two sizes of branch to this budget ({self.budget:,.0f} tokens a language): "
                f"{self.expected}. This is an extrapolation."
            )
        lines.append(self._advice())
        if self.gain and self.turns_at is not None:
            lines.append(self._turn(self.gain.value, self.turns_at))
        return lines

    def _turn(self, gain: float, turns_at: float) -> str:
        fewer, more = ("together", "alone") if (gain > 0) == (self.tokens > turns_at) else ("alone", "together")
        return (
            f"Alone and together are expected to break even at about {turns_at:,.0f} tokens a language: with fewer, "
            f"{fewer} is better, with more, {more}."
        )

    def _advice(self) -> str:
        if self.verdict == "split":
            return f"Advice: split, into about {self.k} clusters."
        if self.verdict == "one":
            return "Advice: one cluster. A dense model on all languages is the better use of these tokens than experts."
        return "Advice: undecided. The figures do not tell experts from one dense model; compare plans first."


def advise(effects: Effects, languages: Sequence[str] | None = None, *, max_k: int | None = None) -> Advice:
    """Whether to split languages into experts, and into how many.

    Args:
        effects: Measured effects.
        languages: Some of the measured languages; None: all.
        max_k: Largest number of clusters to consider; None: one for each language.

    Raises:
        BadInput: If a language was not measured.
    """
    codes = sorted(languages if languages is not None else effects.languages)
    rows, chosen = _rows(effects, codes, max_k or len(codes)), effects.rows_of(codes)
    effect, gain = _mean_effect(effects.probe, chosen), _gain(effects.probe, chosen)
    tokens = float(np.mean([effects.probe.tokens[effects.languages[row]] for row in chosen]))
    budget = effects.budget_tokens / len(effects.languages) if effects.budget_tokens else None
    expected, turns_at = _line(effects, chosen, budget)
    learning = _learning(effects.probe, chosen)
    verdict = _verdict(_deciding(learning, gain, expected or gain or effect), len(codes))
    return Advice(verdict, _suggested(rows, verdict), effect, gain, expected, tokens, turns_at, budget, rows, learning)


def _rows(effects: Effects, codes: list[str], max_k: int) -> list[Row]:
    rows = []
    whole = predicted_cost(measured_plan(codes, 1, effects), effects)
    for k in range(1, min(max_k, len(codes)) + 1):
        plan = measured_plan(codes, k, effects)
        cost = predicted_cost(plan, effects)
        rows.append(Row(k, plan, cost, (whole - cost) / len(codes)))
    return rows


def _figure(values: np.ndarray) -> Figure:
    known = values[np.isfinite(values)]
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else 0.0
    return Figure(float(known.mean()) if len(known) else 0.0, error)


def _mean_effect(probe: Probe, chosen: list[int]) -> Figure:
    """Mean effect on other languages; its error is that over the languages read, as each is read after every branch."""
    table = probe.matrix[np.ix_(chosen, chosen)].copy()
    np.fill_diagonal(table, 0.0)
    return _figure(table.sum(axis=0) / max(1, len(chosen) - 1))


def _gain(probe: Probe, chosen: list[int]) -> Figure | None:
    gains = probe.split_gains
    return None if gains is None or not np.isfinite(gains[chosen]).any() else _figure(gains[chosen])


def _learning(probe: Probe, chosen: list[int]) -> Figure | None:
    joint = probe.joint
    return None if joint is None or not np.isfinite(joint[chosen]).any() else _figure(joint[chosen])


def _line(effects: Effects, chosen: list[int], budget: float | None) -> tuple[Figure | None, float | None]:
    """The gain at the budget, and the tokens at which it is 0: a line for each language that has both sizes."""
    shorter, longer = effects.shorter, effects.probe
    if shorter is None or shorter.split_gains is None or longer.split_gains is None:
        return None, None
    both = [row for row in chosen if np.isfinite(shorter.split_gains[row] + longer.split_gains[row])]
    if len(both) < 2:
        return None, None
    fewer, more = (np.array([probe.tokens[effects.languages[row]] for row in both]) for probe in (shorter, longer))
    before, after = shorter.split_gains[both], longer.split_gains[both]
    slopes = (after - before) / np.log(more / fewer)
    expected = _figure(after + slopes * np.log(budget / more)) if budget else None
    slope, gain, tokens = float(slopes.mean()), float(after.mean()), float(more.mean())
    exponent = -gain / slope if slope else math.inf
    # A break-even point far outside what was measured, or before it began, says nothing.
    turns_at = tokens * math.exp(exponent) if abs(exponent) < _FARTHEST else None
    return expected, turns_at


def _deciding(learning: Figure | None, gain: Figure | None, usual: Figure) -> Figure:
    """The figure that the verdict goes by.

    A line through two short trainings of a base that still learns leads nowhere: there the gain itself must be sure.
    """
    if learning is None or learning.sign >= 0 or (gain is not None and gain.sign > 0):
        return usual
    return learning


def _verdict(figure: Figure, num_languages: int) -> Verdict:
    if num_languages < 2:
        return "one"
    verdicts: dict[int, Verdict] = {1: "split", 0: "undecided", -1: "one"}
    return verdicts[figure.sign]


def _suggested(rows: list[Row], verdict: Verdict) -> int:
    if verdict != "split":
        return 1
    most = max(row.spared for row in rows)
    return next(row.k for row in rows if row.spared >= _ENOUGH * most)
