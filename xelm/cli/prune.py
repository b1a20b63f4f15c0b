"""`xelm prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, print_json


@click.command(
    "prune",
    cls=Command,
    words={"languages": "--languages"},
    epilog="\b\nExample:\n  xelm prune FacebookAI/xlm-roberta-base --languages deu,nld --corpus corpus --out small\n"
    "  xelm prune runs/a --languages deu,nld --out runs/a-small",
)
@click.argument("model")
@click.option("--languages", required=True, help="The languages whose pieces are kept, with commas.")
@click.option("--corpus", help="Text of the languages, as in [data] path. A run has its own; a model needs it.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option(
    "--min-count",
    default=1,
    show_default=True,
    help="How often the text uses a piece that is kept because of the text.",
)
@click.option(
    "--unchanged",
    type=float,
    default=0.95,
    show_default=True,
    help="Share of unread sentences to be tokenised as before: so many likely pieces are kept too. 0: none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print sizes and comparison as JSON.")
def command(model: str, languages: str, as_json: bool, **options: Any) -> None:
    """Write MODEL (a run, or any causal, masked or encoder model) with only the pieces that some languages need."""
    from xelm.pruning.prune import prune

    result = prune(model, [name.strip() for name in languages.split(",") if name.strip()], **options)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(result.to_text())
