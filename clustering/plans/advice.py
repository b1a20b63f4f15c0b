"""Whether to split at all, and how far: what measured effects say before tokens are spent.

In one model for all, a language meets the effects of all others; in an expert, only those of its own cluster. What
other clusters would have done to it is what splitting spares it, or denies it: where languages help each other, one
dense model is the better use of the tokens. The sign is what holds; the size of a gain is not predicted. It is measured
with short branches, and it moves with the budget: two sizes of branch show which way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clustering.plans.effects import Effects, Probe
from clustering.plans.measured import measured_plan, predicted_cost
from clustering.plans.plan import ClusterPlan

Verdict = Literal["split", "one", "undecided"]
_CERTAIN = 2.0
"""Standard errors that a sign must be away from 0."""
_ENOUGH = 0.8
"""Of what one expert a language would be spared, what the suggested number of clusters should spare."""


@dataclass(frozen=True)
class Row:
    """What one number of clusters gives.

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
class Advice:
    """Whether to split.

    Attributes:
        verdict: `split`, `one` (a single model for all), or `undecided`.
        k: Clusters suggested: 1 where the verdict is `one`.
        mean_effect: Mean effect of a language on another, as a share of bits, with its standard error.
        error: That error.
        tokens: Tokens of a branch, mean over languages, that this was measured with.
        expected_effect: The same at the whole budget, on a straight line over the logarithm of the tokens through both
            sizes of branch; None where one size was measured.
        turns_at: Tokens a language at which that line changes sign; None where it does not, or only one was measured.
        budget: Tokens a language of the training that is planned; None if not known.
        rows: One for each number of clusters.
    """

    verdict: Verdict
    k: int
    mean_effect: float
    error: float
    tokens: float
    expected_effect: float | None
    turns_at: float | None
    budget: float | None
    rows: list[Row]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return {**values, "rows": [row.to_dict() for row in self.rows]}

    def sentences(self) -> list[str]:
        """The advice in words."""
        helps = self.mean_effect < 0
        size = f"{100 * abs(self.mean_effect):.2f} % (standard error {100 * self.error:.2f})"
        lines = [
            f"After {self.tokens:,.0f} tokens of one language another is read with {size} "
            f"{'fewer' if helps else 'more'} bits on average: languages {'help' if helps else 'harm'} each other here."
        ]
        if self.expected_effect is not None and self.budget:
            lines.append(
                f"Carried on to this budget ({self.budget:,.0f} tokens a language) by the two sizes of branch: "
                f"{100 * self.expected_effect:+.2f} %. This is an extrapolation."
            )
        if self.verdict == "one":
            lines.append(
                "Advice: one cluster. A dense model on all languages is the better use of these tokens than experts."
            )
        elif self.verdict == "split":
            lines.append(f"Advice: split, into about {self.k} clusters.")
        else:
            lines.append("Advice: undecided. The effect is not clearly different from 0; compare plans with `one`.")
        if self.turns_at is not None:
            lines.append(f"Expected to turn at about {self.turns_at:,.0f} tokens a language.")
        elif self.expected_effect is None:
            lines.append("At which budget this turns cannot be said: the branches were too short for two sizes.")
        return lines


def advise(effects: Effects, languages: Sequence[str] | None = None, *, max_k: int | None = None) -> Advice:
    """Whether to split languages into experts, and into how many.

    Args:
        effects: Measured.
        languages: Some of them; None: all.
        max_k: Largest number of clusters looked at; None: one for each language.

    Raises:
        BadInput: If a language was not measured.
    """
    codes = sorted(languages if languages is not None else effects.languages)
    rows = _rows(effects, codes, max_k or len(codes))
    chosen = effects.rows_of(codes)
    mean, error = _mean_effect(effects.probe, chosen, chosen)
    tokens = float(np.mean([effects.probe.tokens[effects.languages[row]] for row in chosen]))
    budget = effects.budget_tokens / len(effects.languages) if effects.budget_tokens else None
    expected, turns_at = _line(effects, chosen, budget)
    verdict = _verdict(mean, error, expected, len(codes))
    return Advice(verdict, _suggested(rows, verdict), mean, error, tokens, expected, turns_at, budget, rows)


def _rows(effects: Effects, codes: list[str], max_k: int) -> list[Row]:
    rows = []
    whole = predicted_cost(measured_plan(codes, 1, effects), effects)
    for k in range(1, min(max_k, len(codes)) + 1):
        plan = measured_plan(codes, k, effects)
        cost = predicted_cost(plan, effects)
        rows.append(Row(k, plan, cost, (whole - cost) / len(codes)))
    return rows


def _mean_effect(probe: Probe, chosen: list[int], trained: list[int]) -> tuple[float, float]:
    """Mean effect on other languages and its standard error, from the spread between the languages that are read.

    The documents of a language are read after every branch, so its column moves as one: columns are the units.
    """
    table = probe.matrix[np.ix_(trained, chosen)].copy()
    table[np.equal.outer(trained, chosen)] = np.nan  # what a language does to itself
    read = ~np.isnan(table).all(axis=0)
    if not read.any():
        return 0.0, 0.0
    columns = np.nanmean(table[:, read], axis=0)
    return float(columns.mean()), float(columns.std(ddof=1) / math.sqrt(len(columns))) if len(columns) > 1 else 0.0


def _line(effects: Effects, chosen: list[int], budget: float | None) -> tuple[float | None, float | None]:
    """The mean effect at the budget, and the tokens at which it is 0, by a line over the logarithm of the tokens.

    Only languages with branches of two sizes count.
    """
    shorter = effects.shorter
    both = [row for row in chosen if shorter and shorter.tokens.get(effects.languages[row])]
    if shorter is None or not both or len(chosen) < 2:
        return None, None
    names = [effects.languages[row] for row in both]
    before, mean = (_mean_effect(probe, chosen, both)[0] for probe in (shorter, effects.probe))
    fewer, tokens = (float(np.mean([probe.tokens[name] for name in names])) for probe in (shorter, effects.probe))
    slope = (mean - before) / math.log(tokens / fewer)
    expected = mean + slope * math.log(budget / tokens) if budget else None
    if slope == 0 or mean * slope > 0:  # it moves away from 0
        return expected, None
    exponent = -mean / slope
    return expected, tokens * math.exp(exponent) if exponent < 50 else None


def _verdict(mean: float, error: float, expected: float | None, num_languages: int) -> Verdict:
    if num_languages < 2:
        return "one"
    if abs(mean) < _CERTAIN * error:
        return "undecided"
    if expected is not None and expected * mean < 0:
        return "undecided" if abs(expected) < abs(mean) else "split" if expected > 0 else "one"
    return "split" if mean > 0 else "one"


def _suggested(rows: list[Row], verdict: Verdict) -> int:
    if verdict != "split":
        return 1
    most = max(row.spared for row in rows)
    return next(row.k for row in rows if row.spared >= _ENOUGH * most)
