"""`xelm fit`: learn to rank source languages from measured transfer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, print_json


@click.command(
    "fit",
    cls=Command,
    epilog="\b\nExample:\n  xelm fit results.csv --out ranker.json\n"
    "  xelm sources swa --ranker ranker.json --out swa.html\n\n"
    "The table has a line for each pair: target language, source language, score (higher is better, unless the "
    "heading says loss, perplexity or error), and any further numeric columns, under any usual heading.",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File for the ranker (JSON).")
@click.option(
    "--method", type=click.Choice(["trees", "lightgbm"]), default="trees", show_default=True, help="What learns."
)
@click.option("--lower-is-better", is_flag=True, help="The score is a loss: a low one is good.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the trees.")
@click.option("--json", "as_json", is_flag=True, help="Print what was fitted as JSON.")
def command(**options: Any) -> None:
    """Learn to rank source languages from your own transfer results in TABLE (CSV or TSV)."""
    fit(**options)


def fit(table: Path, out: Path, method: str, lower_is_better: bool, seed: int, as_json: bool) -> None:
    """Fit a ranker, save it and print what it was fitted on."""
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
        print_json(facts, indent=1)
        return
    click.echo(f"{facts['pairs']} pairs: {facts['targets']} targets, {facts['sources']} sources")
    click.echo(f"signals: {', '.join(facts['signals'])}")
    click.echo(f"ranker: {out}")
