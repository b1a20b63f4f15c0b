"""`xelm remove`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("remove", epilog="\b\nExample:\n  xelm remove zul --run runs/a")
@click.argument("language")
@click.option("--run", required=True, type=click.Path(path_type=Path), help="The run it was added to.")
def command(language: str, run: Path) -> None:
    """Undo the addition of LANGUAGE: with the last addition gone, every file is as before the first."""
    from xelm.adding.add import remove_language

    experts = remove_language(run, language)
    click.echo(f"{language} removed; the run has {len(experts.languages)} languages")
