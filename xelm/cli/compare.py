"""`xelm compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.comparing.compare import compare_plans
from xelm.launch.options import Launch


@click.command(
    "compare",
    cls=Command,
    epilog="\b\nExample:\n  xelm compare recipe.toml --plans typological,random:3,measured --seeds 2 --out compared\n"
    "  xelm compare recipe.toml --plans typological,mine.json,random:3 --out compared --workers 2",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@options_of(
    compare_plans,
    without=("recipe", "launch"),
    flags={"overrides": "--set"},
    plans={"type": str, "multiple": False, "required": True},
    out={"required": True, "default": None},
    overrides={"metavar": "KEY=VALUE"},
)
@click.option("--dry-run", is_flag=True, help="Read everything and print what would be trained; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options_of(Launch, group="Machines", flags={"time_min": "--time", "mem_gib": "--mem"})
def command(
    recipe: Path,
    plans: str,
    seeds: int,
    out: Path,
    share: float,
    run: Path | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **machines: Any,
) -> None:
    """Train experts for several plans from one base and compare them with one dense baseline at equal tokens.

    Run the same command again to resume.
    """
    launch = Launch(**machines)
    if dry_run:
        from xelm.comparing.bill import bill

        found = bill(recipe, plans, seeds, out, overrides=overrides, share=share)
        if as_json:
            print_json(found.to_dict())
        else:
            click.echo(found.to_text())
        return
    comparison = compare_plans(recipe, plans, seeds, out, overrides=overrides, share=share, run=run, launch=launch)
    if as_json:
        print_json(comparison.to_dict(), indent=1)
        return
    click.echo(comparison.to_text())
    click.echo(f"numbers: {out / 'comparison.json'}   page: {out / 'comparison.html'}")
