"""`xelm train`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.launch.options import Launch
from xelm.making import train as making


@click.command(
    "train",
    cls=Command,
    epilog="\b\nExample:\n  xelm train recipe.toml --out runs/a --dry-run\n"
    "  xelm train recipe.toml --out runs/a --set train.seed=1\n"
    "  xelm train recipe.toml --out runs/a --launcher slurm --partition gpu --gpus 4 --processes 4 --time 720\n\n"
    "Every key of the recipe is explained in docs/recipe.md.",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@options_of(
    making.train,
    names=("out", "overrides", "redo"),
    flags={"overrides": "--set"},
    out={"required": False, "help": "The run directory.  [default: runs/<name of the recipe>]"},
    overrides={"metavar": "KEY=VALUE"},
)
@click.option("--dry-run", is_flag=True, help="Read everything and print the budget, but train nothing.")
@click.option(
    "--probe/--no-probe", default=True, help="With --dry-run: run a few steps to estimate how many hours it takes."
)
@click.option("--json", "as_json", is_flag=True, help="Print the budget (with --dry-run) or the results as JSON.")
@options_of(Launch, group="Machines", flags={"time_min": "--time", "mem_gib": "--mem"})
def command(
    recipe: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    probe: bool,
    redo: bool,
    as_json: bool,
    **machines: Any,
) -> None:
    """Train base, experts and the dense baseline from RECIPE; run the same command again to resume."""
    launch = Launch(**machines)
    if dry_run:
        with tempfile.TemporaryDirectory() as scratch:
            place = out or Path(scratch) / "run"
            plan, budget = making.dry_run(recipe, place, overrides=overrides, probe=probe)
        if as_json:
            print_json(budget.to_dict())
        else:
            click.echo(f"{making.clusters_text(plan)}\n{budget.to_text()}")
        return
    run = out or Path("runs") / recipe.stem
    experts = making.train(recipe, run, overrides=overrides, redo=redo, launch=launch)
    if as_json:
        print_json(experts.manifest.metrics)
        return
    from xelm.evaluation.tables import result_table

    click.echo(result_table(experts))
    click.echo(f"run: {run}   report: {run / 'report.html'}")
