"""`xelm fit`: learn to rank source languages from measured transfer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clustering.errors import BadInput
from clustering.rankers.ranker import fit_ranker
from xelm.cli._options import Command, options_of, print_json

if TYPE_CHECKING:
    from clustering.rankers.validate import Validation

FOLDS_HELP = "Parts that the targets are left out in, to see how well it ranks; as many as targets: one at a time."


@click.command(
    "fit",
    cls=Command,
    epilog="\b\nExample:\n  xelm fit results.csv --out ranker.json\n"
    "  xelm sources swa --ranker ranker.json --out swa.html\n\n"
    "The table has a line for each pair: target language, source language, score (higher is better, unless the "
    "heading says loss, perplexity or error), and any further numeric columns, under any usual heading. A wide table "
    "has targets down the first column, sources along the heading and scores in the cells.",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File for the ranker (JSON).")
@click.option(
    "--score",
    "score_columns",
    metavar="HEADING",
    multiple=True,
    help="Column of the score, where several could be it. May be repeated: each is then a task.",
)
@click.option("--task", metavar="NAME", help="Learn from this task only, where a column headed task names several.")
@click.option("--lower-is-better", is_flag=True, help="The score is a loss: a low one is good.")
@options_of(fit_ranker, names=("method",))
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help=FOLDS_HELP)
@click.option("--anyway", is_flag=True, help="Save the ranker even if it ranks no better than the default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the trees and of the folds.")
@click.option("--json", "as_json", is_flag=True, help="Print what was fitted as JSON.")
def command(**options: Any) -> None:
    """Learn to rank source languages from your own transfer results in TABLE (CSV or TSV).

    Each target is also ranked by a ranker fitted without it; a ranker that does not beat the default is not saved.
    """
    fit(**options)


def fit(
    table: Path,
    out: Path,
    *,
    method: str = "trees",
    score_columns: tuple[str, ...] = (),
    task: str | None = None,
    lower_is_better: bool = False,
    folds: int = 5,
    anyway: bool = False,
    seed: int = 0,
    as_json: bool = False,
) -> None:
    """Fit a ranker, say what was read and how well it ranks, and save it if it beats the default."""
    from clustering.rankers.transfer_table import read_transfer_table
    from clustering.rankers.validate import can_be_validated, cross_validate

    score = score_columns[0] if len(score_columns) == 1 else score_columns or None
    results = read_transfer_table(table, lower_is_better=lower_is_better or None, score_column=score, task=task)
    ranker = fit_ranker(results, method=method, seed=seed)  # type: ignore[arg-type]
    checked = (
        cross_validate(results, method=method, seed=seed, folds=folds)  # type: ignore[arg-type]
        if can_be_validated(results)
        else None
    )
    facts: dict[str, Any] = {
        "ranker": str(out),
        "table": str(table),
        "taken": results.taken,
        "targets": len(ranker.history.targets),
        "sources": len(ranker.history.sources),
        "pairs": len(results.targets),
        "signals": list(dict.fromkeys(name for used in ranker.signals.values() for name in used)),
        "validation": None if checked is None else asdict(checked),
    }
    if as_json:
        print_json(facts, indent=1)
    else:
        click.echo("\n".join(_lines(facts, checked)))
    if checked is not None and not checked.beats_default and not anyway:
        raise BadInput(
            f"The ranker ranks no better than the default ({checked.gain:+.1f} NDCG@3 on targets left out), so it was "
            "not saved. Use the default, give more results, or add --anyway."
        )
    ranker.save(out)
    if not as_json:
        click.echo(f"ranker: {out}")


def _lines(facts: dict[str, Any], checked: Validation | None) -> list[str]:
    from tabulate import tabulate

    taken = ", ".join(f"{role} {heading}" for role, heading in facts["taken"].items())
    lines = [
        f"{facts['pairs']} pairs: {facts['targets']} targets, {facts['sources']} sources",
        f"taken: {taken}",
        f"signals: {', '.join(facts['signals'])}",
    ]
    if checked is None:
        return [*lines, "Too few targets to see how well it ranks: at least 6 are needed."]
    rows = [[m.name, f"{m.ndcg:.1f}", f"{m.low:.1f} to {m.high:.1f}", f"{m.regret:.1f}"] for m in checked.rows]
    heads = ["ranking by", "NDCG@3", "95 %", "regret %"]
    return [
        *lines,
        "",
        f"Targets left out in {checked.folds} parts, each ranked by what was fitted on the others:",
        tabulate(rows, heads, disable_numparse=True),
        f"trained - default: {checked.gain:+.1f} NDCG@3 ({checked.gain_low:+.1f} to {checked.gain_high:+.1f})",
        "",
    ]
