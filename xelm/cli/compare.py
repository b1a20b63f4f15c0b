"""`xelm compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.launch.options import Launch


@click.command(
    "compare",
    cls=Command,
    epilog="\b\nExample:\n  xelm compare recipe.toml --plans typological,random:3,measured --seeds 2 --out compared\n"
    "  xelm compare recipe.toml --plans typological,mine.json,random:3 --out compared --workers 2",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--plans",
    required=True,
    help="With commas: typological, tfidf, random:N, measured, worst, one (an expert a language), plan files (.json).",
)
@click.option("--seeds", type=int, default=1, help="Seeds, each with a base and a dense baseline of its own.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for models, table and page.")
@click.option("--share", type=float, default=0.05, help="measured: part of the budget that measuring takes.")
@click.option("--run", type=click.Path(path_type=Path), help="Take the base of this run, if made from the same recipe.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, such as train.tokens=1e6."
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
    from xelm.comparing.compare import compare_plans

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
