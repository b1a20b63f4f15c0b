"""`xelm transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.launch.options import Launch
from xelm.transferring.transfer import transfer


@click.command(
    "transfer",
    cls=Command,
    epilog="\b\nExample:\n  xelm transfer topics.toml --out topics\n"
    "  xelm transfer topics.toml --out topics --set train.shots=[0,10,50] --set train.seeds=5",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@options_of(
    transfer,
    without=("recipe", "launch"),
    flags={"overrides": "--set"},
    out={"required": True, "default": None},
    overrides={"metavar": "KEY=VALUE"},
)
@click.option("--dry-run", is_flag=True, help="Read everything and print what would be measured; teach nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options_of(Launch, group="Machines", flags={"time_min": "--time", "mem_gib": "--mem"})
def command(recipe: Path, out: Path, overrides: tuple[str, ...], dry_run: bool, as_json: bool, **machines: Any) -> None:
    """Teach a task in some languages, answer it in the others, and report what each technique of transfer gives.

    Run the same command again to resume.
    """
    launch = Launch(**machines)
    if dry_run:
        from xelm.transferring.bill import bill

        found = bill(recipe, out, overrides=overrides)
        if as_json:
            print_json(found.to_dict())
        else:
            click.echo(found.to_text())
        return
    report = transfer(recipe, out, overrides=overrides, launch=launch)
    if as_json:
        print_json(report.to_dict(), indent=1)
        return
    click.echo(report.to_text())
    click.echo(f"numbers: {out / 'transfer.json'}   page: {out / 'transfer.html'}")
