"""`xelm align`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.aligning.align import align
from xelm.cli._options import Command, options_of, print_json


@click.command(
    "align",
    cls=Command,
    words={"languages": "--languages"},
    epilog="\b\nExample:\n  xelm align intfloat/multilingual-e5-small --pairs pairs --prefix 'query: '\n"
    "  xelm align runs/a --pairs pairs --pivot deu\n"
    "  xelm align intfloat/multilingual-e5-small --pairs pairs --prefix 'query: ' --train --out aligned\n"
    "  xelm align runs/a --pairs pairs --train --expert c2-kab",
)
@click.argument("model")
@options_of(align, names=("pairs", "pivot"))
@click.option("--languages", help="Languages to read, with commas. Default: all of the folder but the pivot.")
@options_of(align, names=("expert", "heldout", "most", "train", "out"))
@options_of(align, names=("layer", "pool", "prefix", "max_length", "batch_size", "device"), group="Vectors")
@options_of(
    align,
    names=("adapter", "rank", "epochs", "learning_rate", "step_pairs", "contrast", "temperature", "margin", "seed"),
    group="Training",
)
@click.option("--json", "as_json", is_flag=True, help="Print all figures, with intervals, as JSON.")
def command(model: str, pairs: Path, languages: str | None, as_json: bool, **options: Any) -> None:
    """Measure how well MODEL (a run, or any encoder, masked or causal model) puts translations side by side.

    With --train it is trained on the pairs so that it does so better, without labels; run the same command again to
    resume.
    """
    names = [name.strip() for name in languages.split(",") if name.strip()] if languages is not None else None
    found = align(model, pairs, languages=names, **options)
    if as_json:
        print_json(found.to_dict(), indent=1)
    else:
        click.echo(found.to_text())
