"""`xelm eval`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("eval", epilog="\b\nExample:\n  xelm eval runs/a\n  xelm eval runs/a --data more-text/ --json")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", type=str, help="Text to evaluate on (as in [data] path); default: the run's test text.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(run: Path, data: str | None, as_json: bool) -> None:
    """Perplexity and bits per byte of every model of RUN on every language, against base and dense."""
    from xelm.evaluation.evaluate import evaluate_on
    from xelm.evaluation.tables import model_table
    from xelm.run.experts import ExpertSet

    result = evaluate_on(ExpertSet.load(run), data)
    click.echo(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else model_table(result))
