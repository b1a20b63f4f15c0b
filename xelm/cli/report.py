"""`xelm report`."""

from __future__ import annotations

from pathlib import Path

import click

from xelm.cli._options import Command


@click.command("report", cls=Command, epilog="\b\nExample:\n  xelm report runs/a")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Write RUN/report.html again, from what is in the run."""
    from xelm.making.train import rewrite_report

    click.echo(rewrite_report(run))
