"""The report as a table for the terminal, and as Markdown with everything that the page has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xelm.transferring.cells import OWN
from xelm.transferring.measures.bootstrap import Interval

if TYPE_CHECKING:
    from xelm.transferring.report.report import RowResult, TransferReport

HEADERS = ("technique", "model", "head", "sources", "accuracy", "95 %", "against zero-shot", "spread", "seeds",
           "targets", "rows", "macro F1", "gap", "own gap", "variance", "worst")  # fmt: skip


def to_text(report: TransferReport) -> str:
    """The table of techniques, and the notes needed to read it."""
    from tabulate import tabulate

    rows = [values_of(row) for row in report.rows if row.mean]
    kept = columns_of(rows)
    table = tabulate(
        [[row[place] for place in kept] for row in rows],
        headers=[HEADERS[place] for place in kept],
        disable_numparse=True,
        stralign="right",
    )
    return "\n".join([heading(report), table, *notes(report)])


def to_markdown(report: TransferReport) -> str:
    """All of the page as Markdown."""
    rows = [row for row in report.rows if row.mean]
    targets = targets_of(report)
    parts = [
        f"# Transfer: {heading(report)}",
        _table(HEADERS, [values_of(row) for row in rows]),
        "## Accuracy by language",
        _table(
            ["language", *(name_of_row(row, rows) for row in rows)],
            [[code, *(_cell(row, code) for row in rows)] for code in targets],
        ),
    ]
    if report.gap and any(report.gap.values()):
        sources = [source for source in report.gap if report.gap[source]]
        parts += [
            "## Gap of zero-shot: the sources at home less the target",
            _table(["language", *sources], [[c, *(_signed(report.gap[s].get(c)) for s in sources)] for c in targets]),
        ]
    if report.choices:
        parts += ["## Which source `rank_sources` would have taken", _choices(report)]
    parts += ["## How to read it", "\n".join(f"- {note}" for note in notes(report))]
    return "\n\n".join(parts) + "\n"


def heading(report: TransferReport) -> str:
    """One line on what was measured."""
    targets = targets_of(report)
    seeds = f"{report.seeds} seed{'' if report.seeds == 1 else 's'}"
    draws = f", {report.draws} drawings of shots each" if report.draws > 1 else ""
    return f"{report.task} on {report.base}, {len(targets)} targets, {seeds}{draws}"


def targets_of(report: TransferReport) -> list[str]:
    """All targets, sorted."""
    return sorted({cell.target for row in report.rows for cell in row.transfer})


def values_of(row: RowResult) -> list[str]:
    """A row of the table as text."""
    assert row.mean is not None
    return [
        row.label,
        row.policy,
        row.head,
        "each target's" if row.sources == OWN else row.sources,
        f"{row.mean.value:.3f}",
        interval_text(row.mean),
        "-" if row.against is None else f"{row.against.value:+.3f} ({signed_interval(row.against)})",
        "-" if row.spread is None else f"{row.spread:.3f}",
        str(row.num_replicates),
        str(len(row.transfer)),
        f"{sum(cell.num_rows for cell in row.transfer):,}",
        "-" if row.macro_f1 is None else f"{row.macro_f1:.3f}",
        _signed(row.mean_gap),
        _signed(row.mean_own_gap),
        "-" if row.variance is None else f"{row.variance:.4f}",
        "-" if row.worst is None else f"{row.worst} {min(cell.accuracy.value for cell in row.transfer):.2f}",
    ]


def interval_text(interval: Interval) -> str:
    """`0.70 to 0.74`."""
    return "-" if interval.low is None else f"{interval.low:.3f} to {interval.high:.3f}"


def signed_interval(interval: Interval) -> str:
    """`+0.010 to +0.040`."""
    return "-" if interval.low is None else f"{interval.low:+.3f} to {interval.high:+.3f}"


def name_of_row(row: RowResult, rows: Sequence[RowResult]) -> str:
    """A short name that no other row has: only what differs is said."""
    parts = [row.label]
    for name in ("sources", "policy", "head"):
        if len({getattr(other, name) for other in rows if other.sources != OWN}) > 1:
            parts.append(getattr(row, name))
    return " · ".join(dict.fromkeys(parts))


def notes(report: TransferReport) -> list[str]:
    """What is needed to read the tables."""
    is_parallel = report.made.get("recipe", {}).get("task", {}).get("parallel", True)
    together = ", rows of one id together in all languages" if is_parallel else ""
    leaks = report.leaks
    found = [
        "accuracy: share of right answers, in the mean over targets that are not among the sources; intervals: 95 %, "
        f"test rows drawn with replacement{together}, the same for all techniques",
        "gap: accuracy of the sources at home less that in the target, which can be negative; own gap: what is missing "
        "to the accuracy that the target's own rows teach, as a share of it",
        "spread: standard deviation over seeds and draws of shots; seeds: how many of them gave different lessons (1: "
        "nothing was random)",
        f"{leaks['translations'] + leaks['repeats']} training rows were left out because tests hold their translation "
        f"or the same text ({leaks['shared_ids']} ids on both sides)",
    ]
    found += report.notes
    reasons: dict[tuple[str, str], list[str]] = {}
    for item in report.skipped:
        reasons.setdefault((item["technique"], item["reason"]), []).append(item["target"])
    found += [
        f"not measured: {technique} for {', '.join(dict.fromkeys(targets))}: {reason}"
        for (technique, reason), targets in reasons.items()
    ]
    if report.choices:
        losses = [choice.loss(choice.chosen) for choice in report.choices]
        found.append(f"rank_sources' first choice loses {sum(losses) / len(losses):.3f} to the best source on average")
    return found


def _choices(report: TransferReport) -> str:
    rows = [
        [
            c.target,
            c.chosen,
            f"{c.accuracies[c.chosen]:.3f}",
            c.best,
            f"{c.accuracies[c.best]:.3f}",
            f"{c.loss(c.chosen):.3f}",
        ]
        for c in report.choices
    ]
    table = _table(["target", "first choice", "accuracy", "best", "accuracy", "lost"], rows)
    return f"{table}\n\n{controls(report)}"


def controls(report: TransferReport) -> str:
    """What the choice lost, beside choosing always the same source and choosing at random."""
    mean = sum(choice.loss(choice.chosen) for choice in report.choices) / len(report.choices)
    random = [sum(map(choice.loss, choice.ranking)) / len(choice.ranking) for choice in report.choices]
    always: dict[str, list[float]] = {}
    for choice in report.choices:
        for source in choice.ranking:
            always.setdefault(source, []).append(choice.loss(source))
    fixed = {source: sum(own) / len(own) for source, own in always.items()}
    text = f"Lost to the best source on average: {mean:.3f}; a random choice {sum(random) / len(random):.3f}"
    if "eng" in fixed:
        text += f"; always English {fixed['eng']:.3f}"
    best = min(fixed, key=lambda source: (fixed[source], source))
    return f"{text}; always {best}, known only afterwards, {fixed[best]:.3f}."


def columns_of(rows: Sequence[Sequence[str]]) -> list[int]:
    """Columns that say something: not those with the same model or way to learn in all rows, nor empty ones."""
    kept = []
    for place, header in enumerate(HEADERS):
        values = {row[place] for row in rows}
        if not (values <= {"-"} or (header in ("model", "head") and len(values) == 1)):
            kept.append(place)
    return kept


def _cell(row: RowResult, code: str) -> str:
    found = next((cell for cell in row.transfer if cell.target == code), None)
    if found is None:
        return ""
    low, high = found.accuracy.low, found.accuracy.high
    return f"{found.accuracy.value:.3f}" if low is None else f"{found.accuracy.value:.3f} ({low:.2f}-{high:.2f})"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(str(value).replace('|', '/') for value in line)} |" for line in lines)
