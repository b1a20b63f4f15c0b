"""`xelm distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.distilling.distill import distill


@click.command(
    "distill",
    cls=Command,
    epilog="\b\nExample:\n  xelm distill runs/a --to same --out student\n"
    "  xelm distill runs/a --to HuggingFaceTB/SmolLM2-135M --out student --tokens 2000000",
)
@click.argument("run", type=click.Path(path_type=Path))
@options_of(distill, names=("to", "out"), to={"type": str})
@options_of(distill, names=("data", "tokens"))
@options_of(
    distill,
    names=("policy", "temperature", "mix", "learning_rate", "micro_batch_size", "seed"),
    group="Teaching",
    policy={"type": str},
)
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def command(run: Path, as_json: bool, **options: Any) -> None:
    """Let the experts of RUN teach one student, and measure it beside dense, the experts and their average.

    Run the same command again to resume.
    """
    found = distill(run, **options)
    if as_json:
        print_json(found.to_dict(), indent=1)
    else:
        click.echo(found.to_text())
