"""`xelm add`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, print_json


@click.command(
    "add",
    cls=Command,
    words={"as": "--as", "data": "--data"},
    epilog="\b\nExample:\n  xelm add zul --data zul.jsonl --run runs/a\n  xelm info runs/a",
)
@click.argument("language")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Text of the language: a file, or a folder of files."
)
@click.option("--run", required=True, type=click.Path(path_type=Path), help="Finished run to add to.")
@click.option(
    "--donor",
    default="auto",
    show_default=True,
    help="Model to start from: auto (the best one), a language of the run, or a model's name.",
)
@click.option(
    "--replay",
    default=0.0,
    show_default=True,
    help="Share of the training text drawn from the donor's own languages, from 0 up to 1.",
)
@click.option(
    "--as",
    "as_",
    type=click.Choice(["new", "join"]),
    default="new",
    show_default=True,
    help="new: a new expert; join: the donor's expert learns the language too.",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    help="Training budget in tokens.  [default: the mean of the run's languages, at most 40 times the text]",
)
@click.option(
    "--vocabulary",
    help="Pieces of its own that the expert reads with: their number, or auto.  [default: the donor's pieces]",
)
@click.option("--believe-label", is_flag=True, help="Add the text even if it looks like another language.")
@click.option("--drop-other-languages", is_flag=True, help="Leave out documents that look like other languages.")
@click.option("--json", "as_json", is_flag=True, help="Print what was added as JSON.")
def command(run: Path, language: str, data: Path, as_json: bool, vocabulary: str | None, **options: Any) -> None:
    """Add LANGUAGE to a finished run: train a new expert from the best donor. No other expert changes."""
    from xelm.adding.add import add_language
    from xelm.adding.text import addition_text

    size: Any = int(vocabulary) if vocabulary and vocabulary.isdecimal() else vocabulary
    experts = add_language(run, language, data, vocabulary=size, **options)
    entry = experts.manifest.ledger[-1]
    if as_json:
        print_json(entry.to_dict())
    else:
        click.echo(addition_text(entry))
