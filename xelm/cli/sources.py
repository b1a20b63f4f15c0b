"""`xelm sources`: rank the languages to transfer from, as a table or a report."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clustering.errors import BadInput
from clustering.languages.iso import TYPES
from clustering.sources.candidates import CandidateRules
from xelm.cli._options import Command, option, options_of, print_json

if TYPE_CHECKING:
    from clustering.languages.facts import Modality
    from clustering.sources.report import SourceReport

_DEFAULT_TOP = 20
_FIT = "fit"
_WORLD = "Candidates, without --candidates and --corpus"
_FITTING = "After `fit TABLE` (the same as `xelm fit TABLE`)"


@click.command(
    "sources",
    cls=Command,
    words={"corpora": "--corpus"},
    epilog="\b\nExample:\n  xelm sources swa --candidates eng,zul,ara,hau\n"
    "  xelm sources swa --min-speakers 1000000\n"
    "  xelm sources swa --corpus corpus/ --tokenizer FacebookAI/xlm-roberta-base --out swa.html\n"
    "  xelm sources fit results.csv --out ranker.json\n\n"
    "`xelm sources fit` ranks the sources of Meänkieli, whose code is fit; followed by a file it fits a ranker on the "
    "results in it, as `xelm fit` does.",
)
@click.argument("target")
@click.argument("table", required=False, metavar="", type=click.Path(path_type=Path))
@option(
    "--candidates",
    metavar="LANG,…",
    group="Candidates",
    help="Languages to compare.  [default: those with text in --corpus, else all]",
)
@option("--all", "all_languages", is_flag=True, group=_WORLD, help="Compare every language that has a code.")
@option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(TYPES),
    default=("living",),
    show_default=True,
    group=_WORLD,
    help="Type of languages to compare. May be repeated.",
)
@options_of(CandidateRules, group=_WORLD, names=("modality", "min_text", "min_speakers"))
@option(
    "--corpus",
    metavar="FOLDER",
    group="Text",
    help="Text of target and candidates: a folder or a hub dataset, as in [data] path.",
)
@option("--text-field", default="text", show_default=True, group="Text", help="Key or column of the text in --corpus.")
@option("--tokenizer", group="Text", help="Tokenizer (hub id or folder) that cuts the text, for subword overlap.")
@option("--cache", type=click.Path(path_type=Path), group="Text", help="Folder of profiles.  [default: ~/.cache/xelm]")
@click.option(
    "--quality",
    type=click.Path(path_type=Path),
    help="Table of how good each source is by itself: language, number (results on other targets, size of data, …).",
)
@click.option(
    "--effects",
    type=click.Path(path_type=Path),
    help="Effects made by `xelm measure`: what training on each source does to a model's reading of TARGET.",
)
@option(
    "--signals",
    type=click.Path(path_type=Path),
    group="Text",
    help="Table of numbers in place of text: a language in each row; columns word_overlap, subword_overlap, size, TTR.",
)
@option(
    "--model",
    metavar="NAME|RUN",
    group="Text",
    help="Also how a model sees the languages: distances of hidden states, effects measured in a run, its tokenizer.",
)
@option(
    "--sets",
    type=click.IntRange(min=1),
    metavar="K",
    group="Results",
    help="Also find the K sources that together cover the target best, and what each adds.",
)
@click.option("--ranker", type=click.Path(path_type=Path), help="Ranker made by `xelm fit`, to use for the ranking.")
@option(
    "--top",
    type=click.IntRange(min=1),
    group="Results",
    help=f"How many candidates to show.  [default: all; {_DEFAULT_TOP} without --candidates and --corpus]",
)
@option("--out", type=click.Path(path_type=Path), group="Results", help="Write the report: .html, .md or .json.")
@option("--json", "as_json", is_flag=True, group="Results", help="Print the report as JSON.")
@option("--method", type=click.Choice(["trees", "lightgbm"]), default="trees", group=_FITTING, help="What learns.")
@option("--lower-is-better", is_flag=True, group=_FITTING, help="The score in the table is a loss.")
@option("--anyway", is_flag=True, group=_FITTING, help="Save the ranker even if it ranks no better than the default.")
@option("--seed", type=int, default=0, group=_FITTING, help="Seed of the trees.")
def command(
    target: str,
    table: Path | None,
    candidates: str | None,
    all_languages: bool,
    types: tuple[str, ...],
    modality: Modality | None,
    min_text: int,
    min_speakers: int,
    corpus: str | None,
    text_field: str,
    tokenizer: str | None,
    cache: Path | None,
    quality: Path | None,
    signals: Path | None,
    sets: int | None,
    model: str | None,
    effects: Path | None,
    ranker: Path | None,
    top: int | None,
    out: Path | None,
    as_json: bool,
    **fitting: Any,
) -> None:
    """Rank the languages that TARGET (any code or name) may be taught from, and say why."""
    if table is not None:
        _fit(target, table, out, as_json=as_json, **fitting)
        return
    from clustering.sources.pages import command_line
    from xelm.models.profile_tokenizers import rank_sources

    if tokenizer and not corpus and not model:
        raise BadInput("--tokenizer cuts the text of --corpus: give a corpus too, or leave it out.")
    if out is not None and out.suffix.lower() not in (".html", ".md", ".json"):
        raise BadInput(f"{out}: a report is written as .html, .md or .json; name the file so.")
    if top is None and candidates is None and corpus is None and model is None:
        top = _DEFAULT_TOP
    names = [name.strip() for name in candidates.split(",") if name.strip()] if candidates is not None else None
    options: dict[str, Any] = {"cache": cache, "text_field": text_field, "quality": quality, "signals": signals}
    options |= {"sets": sets, "model": model, "effects": effects}
    rules = CandidateRules(
        all_languages=all_languages, types=types, modality=modality, min_text=min_text, min_speakers=min_speakers
    )
    if rules != CandidateRules():
        options["rules"] = rules
    report = rank_sources(target, names, corpus, tokenizer, top, ranker, **options)
    report = replace(report, command=command_line(_arguments()))
    if out:
        report.save(out)
    if as_json:
        print_json(report.to_dict(), indent=1)
    else:
        click.echo(_table(report))
        if out:
            click.echo(f"\nreport: {out}")


def _fit(target: str, table: Path, out: Path | None, **options: Any) -> None:
    if target != _FIT:
        raise BadInput(f"{target} and {table}: rank the sources of one target at a time. Others go to --candidates.")
    if out is None:
        raise BadInput(f"{_FIT} {table}: where to? Add --out ranker.json.")
    from xelm.cli.fit import fit

    fit(table, out, **options)


def _arguments() -> list[str]:
    """The words after `sources` of this very command, for the report."""
    words = sys.argv[1:]
    return words[words.index("sources") + 1 :] if "sources" in words else []


def _table(report: SourceReport) -> str:
    from tabulate import tabulate

    from clustering.sources.pages import describe, main_parts, marks_of, set_lines

    entries = main_parts(report)
    parts = list(entries[0].contributions)
    marks = marks_of(entries)
    rows = [
        [entry.rank, entry.language, entry.name, f"{entry.score:+.2f}"]
        + [f"{entry.contributions[part]:+.2f}" for part in parts]
        + [" ".join(marks[warning] for warning in entry.warnings)]
        for entry in entries
    ]
    heads = ["#", "code", "language", "score", *(describe(part).title for part in parts), "warnings"]
    lines = [f"Source languages for {report.target_name} ({report.target}), of {report.num_candidates}:", ""]
    lines.append(tabulate(rows, heads, tablefmt="simple", disable_numparse=True))
    lines += [f"\n{mark} {warning}" for warning, mark in marks.items()]
    if report.best_set is not None:
        lines += ["", *set_lines(report)]
    notes = [*report.warnings, *([report.left_out] if report.left_out else [])]
    lines += [f"\nnote: {note}" for note in notes]
    return "\n".join(lines)
