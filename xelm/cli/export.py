"""`xelm export`."""

from __future__ import annotations

from pathlib import Path

import click

from xelm.cli._options import Command


@click.command("export", cls=Command, epilog="\b\nExample:\n  xelm export runs/a c1-deu-nld --out german-dutch")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("model")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
def command(run: Path, model: str, out: Path) -> None:
    """Write MODEL of RUN (an expert, base or dense) as a plain checkpoint that needs neither xelm nor the run."""
    from xelm.run.export import export

    click.echo(f"{model} is in {export(run, model, out)}")
