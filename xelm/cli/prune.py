"""`xelm prune`."""

from __future__ import annotations

from typing import Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.pruning.prune import prune


@click.command(
    "prune",
    cls=Command,
    words={"languages": "--languages"},
    epilog="\b\nExample:\n  xelm prune FacebookAI/xlm-roberta-base --languages deu,nld --corpus corpus --out small\n"
    "  xelm prune runs/a --languages deu,nld --out runs/a-small",
)
@click.argument("model")
@click.option("--languages", required=True, help="The languages whose pieces are kept, with commas.")
@options_of(prune, without=("model", "languages"), corpus={"type": str})
@click.option("--json", "as_json", is_flag=True, help="Print sizes and comparison as JSON.")
def command(model: str, languages: str, as_json: bool, **options: Any) -> None:
    """Write MODEL (a run, or any causal, masked or encoder model) with only the pieces that some languages need."""
    result = prune(model, [name.strip() for name in languages.split(",") if name.strip()], **options)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(result.to_text())
