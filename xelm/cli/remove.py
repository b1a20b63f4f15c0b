"""`xelm remove`."""

from __future__ import annotations

from pathlib import Path

import click

from xelm.cli._options import Command


@click.command("remove", cls=Command, epilog="\b\nExample:\n  xelm remove zul --run runs/a")
@click.argument("language")
@click.option("--run", required=True, type=click.Path(path_type=Path), help="Run that the language was added to.")
def command(language: str, run: Path) -> None:
    """Remove LANGUAGE, which was added with `xelm add`.

    Once all added languages are removed, every file of the run is as it was before.
    """
    from xelm.adding.add import remove_language

    experts = remove_language(run, language)
    click.echo(f"{language} removed; the run has {len(experts.languages)} languages")
