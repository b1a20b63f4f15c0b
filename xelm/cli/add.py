"""`xelm add`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("add", epilog="\b\nExample:\n  xelm add zul --data zul.jsonl --run runs/a\n  xelm info runs/a")
@click.argument("language")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Its text: a file, or a folder with one.")
@click.option("--run", required=True, type=click.Path(path_type=Path), help="The finished run.")
@click.option("--donor", default="auto", show_default=True, help="auto, a language of the run, or a model's name.")
@click.option("--replay", default=0.0, show_default=True, help="Share of blocks from the donor's own languages.")
@click.option(
    "--as",
    "as_",
    type=click.Choice(["new", "join"]),
    default="new",
    show_default=True,
    help="An expert of its own, or the donor's expert takes it in.",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    help="Budget; default: a language's mean in this run, at most 40 times the text.",
)
@click.option("--believe-label", is_flag=True, help="Go on where the text looks like another language.")
@click.option("--json", "as_json", is_flag=True, help="Print the ledger's line as JSON.")
def command(run: Path, language: str, data: Path, as_json: bool, **options: Any) -> None:
    """Add LANGUAGE to a finished run: a new expert from the best donor; no other expert changes."""
    from xelm.adding.add import add_language
    from xelm.adding.text import addition_text

    experts = add_language(run, language, data, **options)
    entry = experts.manifest.ledger[-1]
    click.echo(json.dumps(entry.to_dict(), ensure_ascii=False) if as_json else addition_text(entry))
