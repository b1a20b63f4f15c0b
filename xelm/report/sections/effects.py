"""Evidence for the run's plan beside typology: measured effects, and a comparison with other plans."""

from __future__ import annotations

from typing import Any

from clustering.plans.effects import Effects
from clustering.plans.measured import predicted_cost
from xelm.comparing.comparison import ArmResult, PlanComparison
from xelm.report.facts import Facts
from xelm.report.sections.heatmap import shade
from xelm.report.text import signed


def effects(facts: Facts) -> dict[str, Any] | None:
    """The matrix as a heat map, with the languages of a cluster side by side; None if nothing was measured.

    Returns:
        `columns` (languages), `rows` [{language, begins, cells}], `cost`, `tokens`, `share`, `sentences`.
    """
    file = facts.experts.files.effects
    if not file.is_file():
        return None
    from clustering.plans.advice import advise

    found = Effects.load(file)
    languages = [language for code, language in facts.languages.items() if code in found.languages]
    places = {language.code: found.languages.index(language.code) for language in languages}
    rows: list[dict[str, Any]] = []
    for language in languages:
        cells = [_cell(found, places[language.code], places[other.code], language, other) for other in languages]
        begins = not rows or rows[-1]["language"].expert != language.expert
        rows.append({"language": language, "begins": begins, "cells": cells})
    plan = facts.experts.plan
    measured = all(code in found.languages for code in plan.languages)
    return {
        "columns": languages,
        "rows": rows,
        "cost": predicted_cost(plan, found) if measured else None,
        "tokens": found.tokens,
        "share": 100 * found.tokens / found.budget_tokens if found.budget_tokens else None,
        "sentences": advise(found).sentences(),
    }


def _cell(found: Effects, row: int, column: int, one: Any, other: Any) -> dict[str, Any]:
    change, error = 100 * found.matrix[row, column], 100 * found.errors[row, column]
    return {
        "text": signed(change),
        "shade": shade(change),
        "own": one.expert == other.expert,
        "hint": f"{other.name} after training on {one.name}: {signed(change, 2)} % bits (standard error {error:.2f})",
    }


def evidence(facts: Facts) -> str:
    """Whether this plan is better than others, as far as the run knows."""
    arm, comparison = _own_arm(facts)
    if arm is None or comparison is None:
        return (
            "This run has no evidence that this grouping is better than another: no other plan was compared with it. "
            "`xelm compare` trains experts for several plans, including random ones, from one base."
        )
    against = arm.against_random
    beside = f"; against the mean of random plans {signed(against.value, 2)} points" if against else ""
    if against and against.low is not None and against.high is not None:
        beside += f" ({signed(against.low, 2)} to {signed(against.high, 2)})"
    return (
        f"Compared with other plans from one base ({len(comparison.arms) - 1}, in comparison.json): this one gains "
        f"{signed(arm.mean_gain.value, 2)} % over dense{beside}."
    )


def _own_arm(facts: Facts) -> tuple[ArmResult | None, PlanComparison | None]:
    file = facts.experts.files.comparison
    if not file.is_file():
        return None, None
    comparison = PlanComparison.load(file)
    mine = {tuple(sorted(codes)) for codes in facts.experts.plan.clusters.values()}
    for arm in comparison.arms:
        if {tuple(sorted(codes)) for codes in arm.clusters[0].values()} == mine:
            return arm, comparison
    return None, None
