"""The page of a comparison: plans side by side, language by language, with the effects they were made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xelm.report.environment import page_environment
from xelm.report.sections.heatmap import shade

if TYPE_CHECKING:
    from xelm.comparing.comparison import ArmResult, PlanComparison


def render(comparison: PlanComparison) -> str:
    """The comparison as one HTML page that loads nothing; the same comparison gives the same bytes."""
    return page_environment("comparing").get_template("comparison.html").render(**_values(comparison))


def _values(comparison: PlanComparison) -> dict[str, Any]:
    from clustering import name_of

    ranked = sorted(comparison.arms, key=lambda arm: -arm.mean_gain.value)
    return {
        "comparison": comparison,
        "ranked": [_arm(comparison, arm, ranked) for arm in ranked],
        "rows": [
            {"code": code, "name": name_of(code), "cells": [_cell(arm.gain_by_language[code]) for arm in ranked]}
            for code in comparison.languages
        ],
        "notes": comparison.notes(),
        "name_of": name_of,
    }


def _arm(comparison: PlanComparison, arm: ArmResult, ranked: list[ArmResult]) -> dict[str, Any]:
    most = max((abs(other.mean_gain.value) for other in ranked), default=0.0) or 1.0
    return {
        "arm": arm,
        "width": f"{100 * abs(arm.mean_gain.value) / most:.1f}",
        "is_gain": arm.mean_gain.value >= 0,
        "spread": [min(arm.gain_by_seed), max(arm.gain_by_seed)],
        "cost": sum(arm.predicted_cost) / len(arm.predicted_cost) if arm.predicted_cost else None,
        "same_clusters": all(clusters == arm.clusters[0] for clusters in arm.clusters),
    }


def _cell(gain: float) -> dict[str, Any]:
    return {"gain": gain, "shade": shade(-gain)}
