"""`xelm train`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click


@click.command(
    "train",
    epilog="\b\nExample:\n  xelm train recipe.toml --out runs/a --dry-run\n"
    "  xelm train recipe.toml --out runs/a --set train.seed=1\n"
    "  xelm train recipe.toml --out runs/a --launcher slurm --partition gpu --gpus 4 --processes 4 --time 720",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Run directory (default: runs/<name of the recipe>).")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, such as train.seed=1.")
@click.option("--dry-run", is_flag=True, help="Read everything and print the budget; train nothing.")
@click.option("--probe/--no-probe", default=True, help="Dry run: measure a few steps, to say how many hours it takes.")
@click.option("--redo", is_flag=True, help="Make models anew whose recipe, data or parent changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the budget (dry run) or the results as JSON.")
@click.option("--launcher", type=click.Choice(["local", "slurm"]), default="local", help="This machine, or Slurm jobs.")
@click.option("--processes", type=int, default=1, help="Processes that train one model together, a GPU each.")
@click.option("--fsdp", is_flag=True, help="Share each model out over its processes, where one GPU cannot hold it.")
@click.option("--workers", type=int, help="local: models at a time (default: one a GPU, or one).")
@click.option("--partition", help="slurm: partition.")
@click.option("--account", help="slurm: account.")
@click.option("--time", "time_min", type=int, default=24 * 60, help="slurm: minutes a job; then it queues again.")
@click.option("--gpus", type=int, default=0, help="slurm: GPUs a job.")
@click.option("--cpus", type=int, default=1, help="slurm: CPUs a process.")
@click.option("--mem", "mem_gib", type=float, help="slurm: GiB of memory a job.")
@click.option("--max-jobs", type=int, default=256, help="slurm: jobs at a time.")
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
    from xelm.launch.options import Launch
    from xelm.making import train as pipeline

    launch = Launch(**machines)
    if dry_run:
        with tempfile.TemporaryDirectory() as scratch:
            place = out or Path(scratch) / "run"
            plan, budget = pipeline.dry_run(recipe, place, overrides=overrides, probe=probe)
        click.echo(json.dumps(budget.to_dict()) if as_json else f"{pipeline.clusters_text(plan)}\n{budget.to_text()}")
        return
    run = out or Path("runs") / recipe.stem
    experts = pipeline.train(recipe, run, overrides=overrides, redo=redo, launch=launch)
    if as_json:
        click.echo(json.dumps(experts.manifest.metrics))
        return
    from xelm.evaluation.tables import result_table

    click.echo(result_table(experts))
    click.echo(f"run: {run}   report: {run / 'report.html'}")
