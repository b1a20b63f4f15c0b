"""`xelm eval`."""

from __future__ import annotations

from pathlib import Path

import click

from xelm.cli._options import Command, print_json


@click.command(
    "eval", cls=Command, epilog="\b\nExample:\n  xelm eval runs/a\n  xelm eval runs/a --data more-text/ --json"
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", type=str, help="Text to measure on, as in [data] path.  [default: the run's test text]")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(run: Path, data: str | None, as_json: bool) -> None:
    """Measure every model of RUN on every language, base and dense baseline among them: perplexity, bits per byte."""
    from xelm.evaluation.evaluate import evaluate_on
    from xelm.evaluation.tables import model_table
    from xelm.run.experts import ExpertSet

    result = evaluate_on(ExpertSet.load(run), data)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(model_table(result))
