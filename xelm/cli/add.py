"""`xelm add`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.adding.donors.race import SHARE
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
    help="Model to start from: auto (the best of three that are tried), a language of the run, or a model's name.",
)
@click.option(
    "--trial",
    default=SHARE,
    show_default=True,
    help="For --donor auto: share of the budget for which each of three starts is tried, up to 0.25; 0: no trial.",
)
@click.option(
    "--replay",
    type=float,
    help="Share of the training text drawn from the donor's own languages, from 0 up to 1.  [default: 0.2 with --as "
    "join, else 0]",
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
@click.option("--believe-label", is_flag=True, help="Add the text even if it looks like another language.")
@click.option("--drop-other-languages", is_flag=True, help="Leave out documents that look like other languages.")
@click.option("--dry-run", is_flag=True, help="Read the text and weigh the donors, print the bill, and train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was added (or would be) as JSON.")
def command(run: Path, language: str, data: Path, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Add LANGUAGE to a finished run: train a new expert from the best donor. No other expert changes."""
    from xelm.adding.add import add_language, addition_bill
    from xelm.adding.text import addition_text

    if dry_run:
        bill = addition_bill(run, language, data, **options)
        print_json(bill.to_dict()) if as_json else click.echo(bill.to_text())
        return
    experts = add_language(run, language, data, **options)
    entry = experts.manifest.ledger[-1]
    if as_json:
        print_json(entry.to_dict())
    else:
        click.echo(addition_text(entry))
