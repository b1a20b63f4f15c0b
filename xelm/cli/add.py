"""`xelm add`."""

from __future__ import annotations

import json
from pathlib import Path

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
@click.option("--tokens", type=click.IntRange(min=1), help="Budget; default: a language's mean in this run.")
@click.option("--believe-label", is_flag=True, help="Go on where the text looks like another language.")
@click.option("--json", "as_json", is_flag=True, help="Print the ledger's line as JSON.")
def command(
    language: str,
    data: Path,
    run: Path,
    donor: str,
    replay: float,
    as_: str,
    tokens: int | None,
    believe_label: bool,
    as_json: bool,
) -> None:
    """Add LANGUAGE to a finished run: a new expert from the best donor; no other expert changes."""
    from tabulate import tabulate

    from xelm.add import add_language

    experts = add_language(
        run,
        language,
        data,
        donor=donor,
        replay=replay,
        as_=as_,  # type: ignore[arg-type]
        tokens=tokens,
        believe_label=believe_label,
    )
    entry = experts.manifest.ledger[-1]
    if as_json:
        click.echo(json.dumps(entry, ensure_ascii=False))
        return
    headers = {"name": "candidate", "distance": "typology", "bits_per_byte": "bits per byte"}
    rows = [{headers.get(key, key): value for key, value in row.items()} for row in entry["candidates"]]
    click.echo(tabulate(rows, headers="keys", floatfmt=".3f", missingval="-"))
    click.echo(f"{entry['language']} is now in {entry['expert']}, from {entry['donor']}: {entry['reason']}")
