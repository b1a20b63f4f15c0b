"""`xelm demo`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from xelm.cli._options import Command


@click.command("demo", cls=Command, epilog="\b\nExample:\n  xelm demo --out demo-run")
@click.option("--out", type=click.Path(path_type=Path), default="demo-run", show_default=True, help="Run directory.")
def command(out: Path) -> None:
    """Cluster, train, route, extend and report on the small corpus that comes with xelm: a few minutes on a CPU."""
    from xelm.demo import run_demo

    # The demo prints clusters and budget itself, and reading the corpus again for the ranking is no news.
    for name in ("xelm.making.train", "clustering"):
        logging.getLogger(name).setLevel(logging.WARNING)
    report = run_demo(out, lambda text: click.echo(f"{text}\n"))
    click.echo(f"report: {report}")
