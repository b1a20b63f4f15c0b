"""Line charts as SVG, with few marks and the colours of the page; the same data gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from xelm.report.text import compact

_WIDTH, _HEIGHT = 520.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 12.0, 26.0, 40.0
_TICKS = 5


Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One curve."""

    label: str
    points: Sequence[Point]
    """At least one (x, y), in the order of x. They are drawn faintly, with a smoothed curve on top."""
    colour: str | None = None
    """CSS colour of a cluster; None: the ink of the page."""
    dashed: bool = False


def line_chart(lines: Sequence[Line], *, title: str, x_label: str, y_label: str) -> Markup:
    """Curves in one frame, x from zero, y over the range of the data.

    Args:
        lines: At least one; later ones lie on top of earlier ones.
        title: Title for screen readers.
        x_label: Label under the x axis, whose ticks are short (`1.2 M`).
        y_label: Label over the y axis.
    """
    right = max(x for line in lines for x, _ in line.points) or 1.0
    values = [y for line in lines for _, y in line.points]
    bottom, top = _padded(min(values), max(values))

    def place(point: Point) -> Point:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * point[0] / right
        return across, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (top - point[1]) / (top - bottom)

    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(title)}">']
    for y in ticks(bottom, top):
        level = place((0, y))[1]
        parts.append(f'<line class="grid" x1="{_LEFT:g}" x2="{_WIDTH - _RIGHT:g}" y1="{level:.1f}" y2="{level:.1f}"/>')
        parts.append(_text(f"{y:.4g}", _LEFT - 7, level + 4, "end"))
    for x in ticks(0, right):
        across = place((x, bottom))[0]
        parts.append(_text(compact(x), across, _HEIGHT - 23, "end" if across > _WIDTH - 40 else "middle"))
    parts += [_text(x_label, _WIDTH - _RIGHT, _HEIGHT - 5, "end"), _text(y_label, 0, 12, "start")]
    parts += [_curve(line, list(map(place, line.points)), list(map(place, smoothed(line.points)))) for line in lines]
    return Markup("".join([*parts, "</svg>"]))


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Each y replaced by the mean of its neighbourhood, a tenth of the curve wide."""
    reach = len(points) // 20
    course = []
    for place, (x, _) in enumerate(points):
        values = [y for _, y in points[max(0, place - reach) : place + reach + 1]]
        course.append((x, sum(values) / len(values)))
    return course


def ticks(low: float, high: float) -> list[float]:
    """At most `_TICKS` + 1 round numbers in [low, high], at steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = (high - low) * 0.06 or max(abs(high) * 0.05, 0.05)
    return low - margin, high + margin


def _text(text: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _curve(line: Line, raw: list[Point], course: list[Point]) -> str:
    style = f' style="--c:{line.colour}"' if line.colour else ""
    kind = "".join([" dashed" * line.dashed, " plain" * (line.colour is None)])
    x, y = course[-1]
    return (
        f'<g class="curve{kind}"{style}><title>{escape(line.label)}</title>'
        f'<polyline class="raw" points="{_path(raw)}"/><polyline points="{_path(course)}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/></g>'
    )


def _path(places: list[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
