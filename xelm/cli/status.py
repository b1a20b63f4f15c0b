"""`xelm status`."""

from __future__ import annotations

from pathlib import Path

import click

from xelm.cli._options import Command, print_json


@click.command("status", cls=Command, epilog="\b\nExample:\n  xelm status runs/a\n  xelm status runs/a --json")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
def command(run: Path, as_json: bool) -> None:
    """Show each model of RUN: pending, running, done or failed, with step, tokens and loss.

    Safe to call while the run is trained.
    """
    from tabulate import tabulate

    from xelm.launch.status import run_status

    status = run_status(run)
    if as_json:
        print_json(status.to_dict())
        return
    rows = [
        [
            model.name,
            model.state,
            "" if model.step is None else f"{model.step} of {model.num_steps}",
            f"{model.tokens:,}",
            "" if model.loss is None else f"{model.loss:.3f}",
            "" if model.tokens_per_s is None else f"{model.tokens_per_s:,}",
            "" if model.checkpoint_step is None else model.checkpoint_step,
            " ".join(model.languages),
        ]
        for model in status.models
    ]
    headers = ["model", "state", "step", "tokens", "loss", "tokens/s", "checkpoint", "languages"]
    click.echo(f"{run}: {status.phase}")
    if rows:
        click.echo(tabulate(rows, headers=headers, disable_numparse=True))
    for model in status.models:
        if model.reason:
            click.echo(f"{model.name} failed: {model.reason}")
