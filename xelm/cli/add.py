"""`xelm add`."""

from __future__ import annotations

from typing import Any

import click

from xelm.adding.add import add_language, addition_bill
from xelm.cli._options import Command, options_of, print_json


@click.command(
    "add",
    cls=Command,
    epilog="\b\nExample:\n  xelm add zul --data zul.jsonl --run runs/a\n  xelm info runs/a",
)
@click.argument("language")
@options_of(add_language, without=("language", "vocabulary"), flags={"as_": "--as"})
@click.option(
    "--vocabulary",
    help="Pieces of its own that the expert reads with: their number, or auto.  [default: the donor's pieces]",
)
@click.option("--dry-run", is_flag=True, help="Read the text and weigh the donors, print the bill, and train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was added, or would be, as JSON.")
def command(dry_run: bool, as_json: bool, vocabulary: str | None, **options: Any) -> None:
    """Add LANGUAGE to a finished run: train a new expert from the best donor. No other expert changes."""
    from xelm.adding.text import addition_text
    from xelm.vocabulary.own import read_vocabulary, vocabulary_text

    options["vocabulary"] = int(vocabulary) if vocabulary and vocabulary.isdecimal() else vocabulary
    if dry_run:
        bill = addition_bill(**options)
        print_json(bill.to_dict()) if as_json else click.echo(bill.to_text())
        return
    experts = add_language(**options)
    entry = experts.manifest.ledger[-1]
    if as_json:
        print_json(entry.to_dict())
    else:
        click.echo(addition_text(entry))
        record = read_vocabulary(experts.folder(entry.expert))
        if vocabulary and record:
            click.echo(vocabulary_text(record))
