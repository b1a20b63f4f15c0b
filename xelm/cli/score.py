"""`xelm score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from xelm.cli._placement import placement_options

_LONGEST_SHOWN = 60


@click.command(
    "score",
    epilog='\b\nExample:\n  xelm score runs/a "Guten Morgen" "Buenos días"\n'
    "  xelm score runs/a --file texts.jsonl --policy bayes --json",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", type=click.Path(path_type=Path), help="Texts, one a line, besides those given.")
@click.option(
    "--policy", default="ensemble", show_default=True, help="top1, topm, ensemble, bayes or an expert's name."
)
@click.option("--m", type=click.IntRange(min=1), help="How many experts topm keeps.")
@click.option("--spans", is_flag=True, help="Score each part of a text under the experts of its own language.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list: text, nats, tokens, bytes, bits_per_byte.")
@placement_options
def command(
    run: Path,
    texts: tuple[str, ...],
    file: Path | None,
    policy: str,
    m: int | None,
    spans: bool,
    as_json: bool,
    **placement: Any,
) -> None:
    """Say how probable each TEXT is under the experts of RUN: fewer bits per byte, more probable."""
    from clustering.corpora.read import read_file
    from xelm.inference.routed import RoutedLM

    every = [*texts, *((row.text for row in read_file(file)) if file else ())]
    if not every:
        raise click.UsageError("no text: give one as an argument, or --file with one a line.")
    scores = RoutedLM.from_pretrained(run, **placement).score(every, policy, m=m, spans=spans)
    if as_json:
        rows = [
            {
                "text": text,
                "nats": score.nats,
                "tokens": score.tokens,
                "bytes": score.bytes,
                # An empty text has none, and JSON has no NaN.
                "bits_per_byte": score.bits_per_byte if score.bytes else None,
            }
            for text, score in zip(every, scores, strict=True)
        ]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for text, score in zip(every, scores, strict=True):
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
        click.echo(f"{score.bits_per_byte:.3f} bits per byte, {score.tokens} tokens  {shown}")
