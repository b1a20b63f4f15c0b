"""`xelm verify`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from xelm.cli._options import Command, print_json


@click.command("verify", cls=Command, epilog="\b\nExample:\n  xelm verify runs/a")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the problems as a JSON list.")
def command(run: Path, as_json: bool) -> None:
    """Compare every file of RUN with its SHA-256, and the manifest with itself.

    The exit code is 1 if a file is missing, changed or unknown, or the manifest is not what was written.
    """
    from xelm.run.experts import ExpertSet
    from xelm.run.verify import not_covered

    experts = ExpertSet.load(run)
    problems = experts.verify()
    if as_json:
        print_json(problems)
    else:
        for problem in problems:
            click.echo(problem)
        for note in not_covered(experts.path):
            click.echo(f"note: {note}")
        click.echo(f"{len(experts.manifest.files)} files, {len(problems)} problem(s)")
    sys.exit(1 if problems else 0)
