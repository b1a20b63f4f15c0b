"""`xelm score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.cli._placement import placement_options
from xelm.inference.growing import ROUTINGS
from xelm.inference.routed import RoutedLM

_LONGEST_SHOWN = 60


@click.command(
    "score",
    cls=Command,
    epilog='\b\nExample:\n  xelm score runs/a "Guten Morgen" "Buenos días"\n'
    "  xelm score runs/a --file texts.jsonl --policy bayes --json\n"
    '  xelm score runs/a --prefix "Guten Morgen," " wie geht es Ihnen?" " buenos días"',
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option(
    "--file", type=click.Path(path_type=Path), help="File of further texts, one on each line (.txt, .jsonl, …)."
)
@options_of(
    RoutedLM.score, names=("policy", "m", "spans", "prefix", "routing"), routing={"type": click.Choice(ROUTINGS)}
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON list of text, nats, tokens, bytes and bits_per_byte."
)
@placement_options
def command(
    run: Path,
    texts: tuple[str, ...],
    file: Path | None,
    policy: str,
    m: int | None,
    prefix: tuple[str, ...],
    routing: str,
    spans: bool,
    as_json: bool,
    **placement: Any,
) -> None:
    """Measure how probable each TEXT is to the experts of RUN: the fewer bits per byte, the more probable."""
    from clustering.corpora.read import read_file

    every = [*texts, *((row.text for row in read_file(file)) if file else ())]
    if not every:
        raise click.UsageError("no text: give one as an argument, or a file of them with --file.")
    # One stands before every text, several stand before one each.
    before = prefix[0] if len(prefix) == 1 else prefix or None
    asked: dict[str, Any] = {"prefix": before, "routing": routing, "spans": spans}
    scores = RoutedLM.from_pretrained(run, **placement).score(every, policy, m=m, **asked)
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
        print_json(rows)
        return
    for text, score in zip(every, scores, strict=True):
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
        click.echo(f"{score.bits_per_byte:.3f} bits per byte, {score.tokens} tokens  {shown}")
