"""The page of a transfer: techniques, accuracy by language, gaps, sources and targets, curves over shots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clustering.languages.codes import name_of
from xelm.report.charts import Line, line_chart
from xelm.report.environment import page_environment
from xelm.report.sections.heatmap import shade
from xelm.transferring.cells import OWN
from xelm.transferring.report import text

if TYPE_CHECKING:
    from xelm.transferring.report.report import RowResult, TransferReport

_COLOURS = ("#2f74b5", "#c06a15", "#3d8b5a", "#8a5aa8", "#b34a5b", "#6b7280")
_FEWEST_SOURCES = 2


def render(report: TransferReport) -> str:
    """The report as one HTML page that loads nothing; the same report gives the same bytes."""
    return page_environment("transferring/report").get_template("transfer.html").render(**_values(report))


def _values(report: TransferReport) -> dict[str, Any]:
    rows = [row for row in report.rows if row.mean]
    targets = text.targets_of(report)
    first = rows[0] if rows else None
    kept = text.columns_of([text.values_of(row) for row in rows])
    return {
        "report": report,
        "heading": text.heading(report),
        "first": first,
        "source": f" from {name_of(first.sources)}" if first and first.sources in report.languages else "",
        "headers": [text.HEADERS[place] for place in kept],
        "techniques": [[text.values_of(row)[place] for place in kept] for row in rows],
        "row_names": [text.name_of_row(row, rows) for row in rows],
        "languages": [_language(code, rows, first) for code in targets],
        "gaps": _gaps(report, targets),
        "matrix": _matrix(report),
        "chart": _curves(rows),
        "choices": report.choices,
        "controls": text.controls(report) if report.choices else "",
        "notes": text.notes(report),
        "name_of": name_of,
        "test_rows": sum(cell.num_rows for cell in first.transfer) if first else 0,
    }


def _language(code: str, rows: list[RowResult], first: RowResult | None) -> dict[str, Any]:
    """The accuracies of a target, coloured by their difference from the first row."""
    base = _accuracy(first, code) if first else None
    cells: list[dict[str, str] | None] = []
    for row in rows:
        found = next((cell for cell in row.transfer if cell.target == code), None)
        if found is None:
            cells.append(None)
            continue
        value, low, high = found.accuracy.value, found.accuracy.low, found.accuracy.high
        change = None if base is None or row is first else 100 * (value - base)
        cells.append(
            {
                "value": f"{value:.3f}",
                "shade": shade(-change if change is not None else None),
                "hint": f"{found.num_rows} test rows, 95 % {low:.3f} to {high:.3f}" if low is not None else "",
            }
        )
    return {"code": code, "name": name_of(code), "cells": cells}


def _accuracy(row: RowResult, code: str) -> float | None:
    return next((cell.accuracy.value for cell in row.transfer if cell.target == code), None)


def _gaps(report: TransferReport, targets: list[str]) -> dict[str, Any] | None:
    sources = [source for source, own in report.gap.items() if own]
    if not sources:
        return None
    rows = [
        {
            "name": name_of(code),
            "cells": [
                None if (gap := report.gap[source].get(code)) is None else {"gap": gap, "shade": shade(100 * gap)}
                for source in sources
            ],
        }
        for code in targets
        if any(code in report.gap[source] for source in sources)
    ]
    return {"sources": sources, "rows": rows}


def _matrix(report: TransferReport) -> dict[str, Any] | None:
    """Sources × targets of zero-shot, where several single sources were measured; shaded by rank within the target."""
    rows = [row for row in report.plain if row.sources in report.languages]
    if len(rows) < _FEWEST_SOURCES:
        return None
    targets = sorted({cell.target for row in rows for cell in row.cells})
    values = {(row.sources, cell.target): cell.accuracy.value for row in rows for cell in row.cells}
    means = {t: sum(v := [values[r.sources, t] for r in rows if (r.sources, t) in values]) / len(v) for t in targets}
    return {
        "targets": targets,
        "rows": [
            {
                "source": row.sources,
                "cells": [
                    None
                    if (value := values.get((row.sources, target))) is None
                    else {
                        "value": f"{value:.2f}"[1:] if value < 1 else "1",
                        "shade": shade(100 * (means[target] - value)),
                        "own": row.sources == target,
                        "hint": f"{name_of(row.sources)} to {name_of(target)}: {value:.3f}",
                    }
                    for target in targets
                ],
            }
            for row in rows
        ],
    }


def _curves(rows: list[RowResult]) -> Any:
    """Mean accuracy over shots, a curve for each technique with several; None without any."""
    groups: dict[tuple[str, str, str, str], list[RowResult]] = {}
    for row in rows:
        if row.sources != OWN:
            groups.setdefault((row.technique, row.policy, row.head, row.sources), []).append(row)
    several = {key: sorted(own, key=lambda row: row.shots) for key, own in groups.items() if len(own) > 1}
    if not several:
        return None
    lines, legend = [], []
    for number, (key, own) in enumerate(several.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        label = " · ".join(part for place, part in enumerate(key) if len({k[place] for k in several}) > 1) or key[0]
        points = [(float(row.shots), row.mean.value) for row in own if row.mean]
        lines.append(Line(label, points, colour))
        legend.append({"label": label, "colour": colour})
    chart = line_chart(lines, title="accuracy over shots", x_label="labelled rows of the target", y_label="accuracy")
    return {"svg": chart, "legend": legend}
