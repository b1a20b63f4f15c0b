"""`xelm sources`: rank the languages to transfer from, as a table or a report; and fit a ranker on own results."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clustering.errors import BadInput

if TYPE_CHECKING:
    from clustering.sources.report import SourceReport

_DEFAULT_TOP = 20


class _RankOrFit(click.Command):
    """`sources TARGET` ranks; `sources fit TABLE` is a command of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] == "fit":
            return _fit.make_context(f"{info_name} fit", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(
    cls=_RankOrFit,
    name="sources",
    epilog="\b\nExample:\n  xelm sources swa --candidates eng,zul,ara,hau\n"
    "  xelm sources swa --min-speakers 1000000\n"
    "  xelm sources swa --corpus corpus/ --tokenizer FacebookAI/xlm-roberta-base --out swa.html\n"
    "  xelm sources fit results.csv --out ranker.json   (see: xelm sources fit --help)",
)
@click.argument("target")
@click.option("--candidates", metavar="LANG,…", help="Languages to compare (default: those with text, else all).")
@click.option("--min-speakers", type=click.IntRange(min=0), default=0, help="Of all, only those so many people speak.")
@click.option("--corpus", type=str, help="Text of the languages, a folder or hub dataset as for [data] path.")
@click.option("--text-field", default="text", show_default=True, help="Key or column of the text in --corpus.")
@click.option("--tokenizer", help="Hub id or folder of a tokenizer, for subword overlap.")
@click.option("--top", type=click.IntRange(min=1), help=f"How many to show (default: {_DEFAULT_TOP} of all of URIEL).")
@click.option("--ranker", type=click.Path(path_type=Path), help="A ranker from `xelm sources fit`.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder of kept profiles (default: ~/.cache/xelm).")
@click.option("--out", type=click.Path(path_type=Path), help="Write the report: .html, .md or .json.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    target: str,
    candidates: str | None,
    min_speakers: int,
    corpus: str | None,
    text_field: str,
    tokenizer: str | None,
    top: int | None,
    ranker: Path | None,
    cache: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Rank the languages that TARGET (any code or English name) may be taught from, and say why."""
    from clustering.sources.pages import command_line
    from xelm.models.profile_tokenizers import rank_sources

    if tokenizer and not corpus:
        raise BadInput("--tokenizer cuts the text of --corpus: give a corpus too, or leave it out.")
    if out is not None and out.suffix.lower() not in (".html", ".md", ".json"):
        raise BadInput(f"{out}: a report is written as .html, .md or .json; name the file so.")
    if top is None and candidates is None and corpus is None:
        top = _DEFAULT_TOP
    names = [name.strip() for name in candidates.split(",") if name.strip()] if candidates is not None else None
    options: dict[str, Any] = {"cache": cache, "min_speakers": min_speakers, "text_field": text_field}
    report = rank_sources(target, names, corpus, tokenizer, top, ranker, **options)
    report = replace(report, command=command_line(_arguments()))
    if out:
        report.save(out)
    if as_json:
        click.echo(report.to_json())
    else:
        click.echo(_table(report))
        if out:
            click.echo(f"\nreport: {out}")


@click.command(
    "fit",
    epilog="\b\nExample:\n  xelm sources fit results.csv --out ranker.json\n"
    "  xelm sources swa --ranker ranker.json --out swa.html\n\n"
    "The table has a line per pair: target language, source language, score (higher is better, unless the "
    "heading says loss, perplexity or error), and any further numeric columns, under any usual heading.",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write the ranker (JSON).")
@click.option("--method", type=click.Choice(["trees", "lightgbm"]), default="trees", help="What learns.")
@click.option("--lower-is-better", is_flag=True, help="The score is a loss.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print what was fitted as JSON.")
def _fit(table: Path, out: Path, method: str, lower_is_better: bool, seed: int, as_json: bool) -> None:
    """Learn to rank sources from your own transfer results in TABLE (CSV or TSV)."""
    from clustering.sources.ranker import fit_ranker
    from clustering.sources.transfer_table import read_transfer_table

    results = read_transfer_table(table, lower_is_better=lower_is_better or None)
    ranker = fit_ranker(results, method=method, seed=seed)  # type: ignore[arg-type]
    ranker.save(out)
    facts: dict[str, Any] = {
        "ranker": str(out),
        "table": str(table),
        "targets": len(ranker.history.targets),
        "sources": len(ranker.history.sources),
        "pairs": len(results.targets),
        "signals": list(dict.fromkeys(name for used in ranker.signals.values() for name in used)),
    }
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    click.echo(f"{facts['pairs']} pairs: {facts['targets']} targets, {facts['sources']} sources")
    click.echo(f"signals: {', '.join(facts['signals'])}")
    click.echo(f"ranker: {out}")


def _arguments() -> list[str]:
    """The words after `sources` of this very command, for the report."""
    words = sys.argv[1:]
    return words[words.index("sources") + 1 :] if "sources" in words else []


def _table(report: SourceReport) -> str:
    from tabulate import tabulate

    from clustering.sources.pages import describe, main_parts

    entries = main_parts(report)
    parts = list(entries[0].contributions)
    rows = [
        [entry.rank, entry.language, entry.name, f"{entry.score:+.2f}"]
        + [f"{entry.contributions[part]:+.2f}" for part in parts]
        + ["; ".join(entry.warnings)]
        for entry in entries
    ]
    heads = ["#", "code", "language", "score", *(describe(part).title for part in parts), "warnings"]
    lines = [f"Source languages for {report.target_name} ({report.target}), of {report.num_candidates}:", ""]
    lines.append(tabulate(rows, heads, tablefmt="simple", disable_numparse=True))
    lines += [f"\nnote: {warning}" for warning in report.warnings]
    return "\n".join(lines)
