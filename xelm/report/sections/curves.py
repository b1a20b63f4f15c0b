"""Training curves of the base, the experts and the dense baseline."""

from __future__ import annotations

import math
from typing import Any

from xelm.report.charts import Line, line_chart, smoothed
from xelm.report.facts import Facts
from xelm.report.text import compact
from xelm.run.names import BASE, DENSE, is_dense

_MOST_POINTS = 120


def curves(facts: Facts) -> dict[str, Any]:
    """A chart of the base, and one of all models that branched from it.

    Returns:
        `charts` [{title, svg, legend}], empty if there is no curve; `missing`: models without a curve.
    """
    lines = {name: line for name in facts.experts.models if (line := _line(facts, name))}
    # Dense comes last, so that it lies on top of the experts that it is compared with.
    branches = [lines[name] for name in (*facts.experts.names, DENSE) if name in lines]
    charts = []
    if BASE in lines:
        charts.append(_chart("The base, on all languages", [lines[BASE]]))
    if branches:
        charts.append(_chart("From there: each expert on its own languages, dense on all", branches))
    return {"charts": charts, "missing": [name for name in facts.experts.models if name not in lines]}


def _line(facts: Facts, name: str) -> Line | None:
    points = [(row["tokens"], row["loss"]) for row in facts.experts.history(name) if math.isfinite(row["loss"])]
    if not points:
        return None
    thinned = _thinned(points)
    course = smoothed(thinned)
    label = f"{name}: {course[0][1]:.2f} → {course[-1][1]:.2f} after {compact(points[-1][0])} tokens"
    return Line(label, thinned, facts.colours.get(name), dashed=is_dense(name))


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MOST_POINTS` points: each is the mean loss of equally many steps, at the tokens of the last one."""
    size = -(-len(points) // _MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]


def _chart(title: str, lines: list[Line]) -> dict[str, Any]:
    svg = line_chart(lines, title=title, x_label="tokens trained on", y_label="loss, nats per token")
    legend = [{"label": line.label, "colour": line.colour, "dashed": line.dashed} for line in lines]
    return {"title": title, "svg": svg, "legend": legend}
