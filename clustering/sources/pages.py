"""A source report as a web page and as Markdown: the same numbers, drawn and written out."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.pictures.environment import page_template
from clustering.pictures.globe import Point, draw_map
from clustering.pictures.tree import draw_family, family_trees
from clustering.sources.signals import SIGNALS, Signal

if TYPE_CHECKING:
    from clustering.sources.report import SourceReport, SourceScore

# A page stays readable and a map uncrowded; the JSON form has every candidate.
MAX_ROWS = 300
MAX_BARS = 30
MAX_PARTS = 7
OTHERS = "others"
_OPEN_FAMILIES = 3
_BAR_WIDTH = 560.0
_SHOWN_SIGNALS = (
    *("subword_overlap", "word_overlap", "latin_overlap", "shared_script", "size_ratio", "ttr_distance"),
    *("model_distance", "effect", "shared_family", "genetic", "syntactic", "phonological", "geographic"),
)
_LEARNED = {
    OTHERS: Signal("the others", "all signals that matter less, added up", False, None),
    "prior": Signal("helped others", "how good this source was for the other targets of the table", False, True),
    "neighbours": Signal("helped near targets", "how good it was for targets near this one", False, True),
    "alike": Signal(
        "helped alike targets", "how good it was for targets that served the same languages as this one", False, True
    ),
    "default_score": Signal("all together", "the sum of the default ranking", False, True),
}
_SUM = (
    "The score of a language is the sum of its bars: right of the line speaks for it as a source, left against it. "
    "Zero is the mean candidate of this report, so scores compare within it, not between reports."
)
_BY_DEFAULT = (
    "Each signal has one vote in fixed units: 5 nats of shared family, 0.1 of syntactic distance, one log unit of "
    "distance on the globe (from 1500 km on) or of data size. No transfer results went into it.",
    "Differences of less than about half a unit mean little: try both languages. On measured "
    "transfer the best of the top three is usually close to the best there is, the order within them is not sure.",
    "On some tasks (inference, topics) pairs matter less than the source: a language with much, good data helps all. "
    "If you know how good sources are, give it as `quality`.",
)
_BY_RANKER = (
    "The score was learned from a table of measured transfer: how useful a source is expected to be, of which a bar "
    "is the part that one signal adds. It holds for the table's kind of task, and for languages like the table's.",
    "The ranker cannot decide between candidates whose scores are close: try both languages.",
)
_SETS = (
    "Coverage is the share of the target that sources have between them, each aspect as much as the others: types of "
    "its text, syntactic features, nodes of its family tree. A source counts by its score, and what others have "
    "already counts less."
)
_COVERAGE = (
    "Coverage says how many facts of the typology are known of both languages. If it is small, the value comes from "
    "related and neighbouring languages, and the warnings say so."
)


def describe(name: str) -> Signal:
    """Title and meaning of a signal, of a learned one, or of a column of the user's own table."""
    return SIGNALS.get(name) or _LEARNED.get(name) or Signal(name, "a column of the transfer table", True, None)


def main_parts(report: SourceReport, limit: int | None = None) -> list[SourceScore]:
    """The best entries, with only the signals that move scores most, largest first; the rest is added up.

    A trained ranker uses more signals than a page can show clearly.

    Args:
        report: The report.
        limit: Entries to take, or None for all.
    """
    entries = list(report.ranking[:limit])
    names = list(entries[0].contributions) if entries else []
    weight = {name: sum(abs(entry.contributions[name]) for entry in entries) for name in names}
    main = sorted(names, key=lambda name: -weight[name])[:MAX_PARTS]
    shortened = []
    for entry in entries:
        shown = {name: entry.contributions[name] for name in main}
        if len(main) < len(names):
            shown[OTHERS] = entry.score - sum(shown.values())
        shortened.append(replace(entry, contributions=shown))
    return shortened


def marks_of(entries: Iterable[SourceScore]) -> dict[str, str]:
    """A letter in brackets for each warning, so that one that many languages share is written out once."""
    warnings = dict.fromkeys(warning for entry in entries for warning in entry.warnings)
    return {warning: f"({_letters(number)})" for number, warning in enumerate(warnings)}


def _letters(number: int) -> str:
    """a, b, …, z, aa, ab, …"""
    first, last = divmod(number, 26)
    return (_letters(first - 1) if first else "") + chr(ord("a") + last)


def set_lines(report: SourceReport) -> list[str]:
    """The best set as lines of text: its languages in order, with what each adds and by what."""
    found = report.best_set
    if found is None:
        return []
    lines = [f"The {len(found.members)} that together cover {report.target_name} best:"]
    for number, member in enumerate(found.members, start=1):
        parts = ", ".join(f"{name} {100 * value:+.1f}" for name, value in member.gains.items())
        lines.append(f"  {number}. {member.name} ({member.language}) {100 * member.gain:+.1f} % ({parts})")
    best = f"the {len(found.members)} best single ones cover" if len(found.members) > 1 else "the best one covers"
    lines.append(f"  together {100 * found.coverage:.1f} %; {best} {100 * found.of_best_singles:.1f} %")
    return lines


def html(report: SourceReport) -> str:
    """The report as one HTML page that loads nothing from anywhere."""
    return page_template(Path(__file__).parent, "pages.html").render(**_context(report))


def markdown(report: SourceReport) -> str:
    """The report as Markdown: ranking, warnings, signals, corpora, how to read it."""
    context = _context(report)
    lines = [f"# Source languages for {report.target_name} (`{report.target}`)", "", context["summary"], ""]
    if context["notes"]:
        lines += [*(f"> **Note:** {note}" for note in context["notes"]), ""]
    parts = [legend["title"] for legend in context["legend"]]
    lines += _table(
        ["#", "language", "code", "score", *parts],
        [
            [row["rank"], row["name"], f"`{row['language']}`", row["score"], *row["contributions"]]
            for row in context["rows"]
        ],
    )
    if report.best_set is not None:
        lines += ["## A set of sources", "", *set_lines(report), "", _SETS, ""]
    lines += ["## Raw signals", ""]
    lines += _table(
        ["language", *(signal["title"] for signal in context["columns"]), "syntax known"],
        [[row["name"], *row["signals"], row["known"]] for row in context["rows"]],
    )
    if context["warned"]:
        lines += ["## Warnings", ""]
        lines += [f"- {warning['text']}: **{', '.join(warning['names'])}**" for warning in context["warned"]] + [""]
    if context["profiles"]:
        lines += ["## Corpora", ""]
        heads = ["language", "documents", "bytes", "words", "word types", "TTR", "fertility", "byte share", "scripts"]
        lines += _table(heads, [list(profile.values()) for profile in context["profiles"]])
    lines += ["## How to read this", ""] + [f"- {text}" for text in context["how_to_read"]] + [""]
    lines += [f"- **{term['title']}**: {term['meaning']}" for term in context["terms"]] + [""]
    if report.command:
        lines += ["Made with:", "", f"    {report.command}", ""]
    return "\n".join(lines)


def command_line(arguments: list[str]) -> str:
    """A command to paste into a shell, as `xelm sources swa --out 'my report.html'`."""
    return shlex.join(["xelm", "sources", *arguments])


def _context(report: SourceReport) -> dict[str, Any]:
    entries = main_parts(report, MAX_ROWS)
    parts = list(entries[0].contributions) if entries else []
    columns = [name for name in _SHOWN_SIGNALS if any(entry.signals.get(name) is not None for entry in entries)]
    shown = f" The best {len(entries)} are shown." if len(entries) < report.num_candidates else ""
    method = "default ranking, no training" if report.method == "default" else report.method
    rows = [_row(entry, parts, columns) for entry in entries]
    num_signals = len(report.ranking[0].contributions) if entries else 0
    return {
        "report": report,
        "summary": f"{report.num_candidates} candidates compared by {num_signals} signals: {method}.{shown}",
        "legend": _described(parts),
        "bars": _bars(entries[:MAX_BARS], parts),
        "map": _map(report, entries),
        "families": _families(entries),
        "columns": _described(columns),
        "rows": rows,
        "warned": _warned(entries),
        "notes": [*report.warnings, *([report.left_out] if report.left_out else [])],
        "sets": set_lines(report),
        "about_sets": _SETS,
        "profiles": [_profile(name, values) for name, values in report.profiles.items()],
        "terms": _described(dict.fromkeys([*parts, *columns])),
        "how_to_read": (_SUM, *(_BY_DEFAULT if report.method == "default" else _BY_RANKER), _COVERAGE),
        "date": date.today().isoformat(),
    }


def _warned(entries: list[SourceScore]) -> list[dict[str, Any]]:
    """Each warning once, with the languages that it holds for."""
    names: dict[str, list[str]] = {}
    for entry in entries:
        for warning in entry.warnings:
            names.setdefault(warning, []).append(entry.name)
    return [{"text": text, "names": found} for text, found in names.items()]


def _described(names: Iterable[str]) -> list[dict[str, str]]:
    return [{"name": name, "title": describe(name).title, "meaning": describe(name).meaning} for name in names]


def _row(entry: SourceScore, parts: list[str], columns: list[str]) -> dict[str, Any]:
    return {
        "rank": entry.rank,
        "name": entry.name,
        "language": entry.language,
        "score": f"{entry.score:+.2f}",
        "contributions": [f"{entry.contributions[part]:+.2f}" for part in parts],
        "signals": [_value(name, entry.signals.get(name)) for name in columns],
        "known": entry.coverage.get("syntactic", 0),
        "warnings": entry.warnings,
    }


def _profile(code: str, values: dict[str, Any]) -> dict[str, str]:
    def ratio(name: str, form: str) -> str:
        return "–" if values[name] is None else format(values[name], form)

    return {
        "language": code,
        "documents": f"{values['documents']:,}",
        "bytes": f"{values['bytes']:,}",
        "words": f"{values['words']:,}",
        "types": f"{values['word_types']:,}",
        "ttr": ratio("type_token_ratio", ".3f"),
        "fertility": ratio("fertility", ".2f"),
        "fallback": ratio("fallback_share", ".1%"),
        "scripts": ", ".join(f"{name.title()} {share:.0%}" for name, share in list(values["scripts"].items())[:2]),
    }


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "geographic":
        return f"{value:,.0f} km"
    if name in ("size_ratio", "shared_family"):
        return f"{value:.1f}"
    return f"{value:.3f}"


def _bars(entries: list[SourceScore], parts: list[str]) -> dict[str, Any]:
    """Rectangles of the stacked bars: what speaks for a language to the right of zero, what against to the left."""
    reach_left = max((-sum(min(v, 0.0) for v in e.contributions.values()) for e in entries), default=0.0)
    reach_right = max((sum(max(v, 0.0) for v in e.contributions.values()) for e in entries), default=0.0)
    scale = _BAR_WIDTH / max(reach_left + reach_right, 1e-9)
    zero = reach_left * scale
    rows = []
    for entry in entries:
        left = right = zero
        pieces = []
        for index, part in enumerate(parts):
            value = entry.contributions[part]
            width = abs(value) * scale
            start = right if value >= 0 else left - width
            right, left = (right + width, left) if value >= 0 else (right, left - width)
            if width >= 0.3:
                pieces.append(
                    {"x": start, "width": width, "part": index, "title": describe(part).title, "value": value}
                )
        rows.append({"entry": entry, "pieces": pieces, "score_x": zero + entry.score * scale})
    return {"rows": rows, "zero": zero, "width": _BAR_WIDTH}


def _map(report: SourceReport, entries: list[SourceScore]) -> dict[str, Any] | None:
    low = min((entry.score for entry in entries), default=0.0)
    span = max((entry.score for entry in entries), default=1.0) - low or 1.0
    points = []
    for entry in entries:
        if entry.place is not None:
            strength, title = (entry.score - low) / span, f"{entry.rank}. {entry.name} {entry.score:+.2f}"
            radius, opacity = 3.5 + 6.5 * strength, 0.3 + 0.65 * strength
            points.append(Point(entry.name, title, entry.place, radius, "var(--p0)", opacity))
    return draw_map(points, report.target_place)


def _families(entries: list[SourceScore]) -> list[dict[str, Any]]:
    """The candidates by family, that of the best first: summary, and lines and rows of its tree."""
    known = {entry.language: entry for entry in entries}
    found = []
    for number, tree in enumerate(family_trees([entry.language for entry in entries])):
        drawn = draw_family(tree)
        for leaf in drawn["leaves"]:
            leaf["entry"] = known[leaf["language"]]
        best = min((known[code] for code in tree.leaves()), key=lambda entry: entry.rank)
        found.append({"name": tree.name, "best": best, "tree": drawn, "open": number < _OPEN_FAMILIES})
    return found


def _table(header: list[str], rows: list[list[Any]]) -> list[str]:
    def line(cells: list[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line(["---"] * len(header)), *(line(row) for row in rows), ""]
