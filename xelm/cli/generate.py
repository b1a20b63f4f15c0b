"""`xelm generate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from router.generation_options import AnswerOptions
from xelm.cli._options import Command, made_of, options_of, print_json
from xelm.cli._placement import placement_options
from xelm.inference.routed import RoutedLM


@click.command(
    "generate",
    cls=Command,
    epilog='\b\nExample:\n  xelm generate runs/a "Guten Morgen" "Buenos días" --max-new-tokens 40\n'
    "  xelm generate runs/a --file prompts.txt --policy ensemble --json",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option(
    "--file", type=click.Path(path_type=Path), help="File of further prompts, one on each line (.txt, .jsonl, …)."
)
@options_of(RoutedLM.score, names=("policy", "m"), policy={"default": "top1"})
@click.option("--stream", is_flag=True, help="Print the answers as they are made, one prompt after the other.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of prompt, text and route.")
@options_of(AnswerOptions, group="Sampling")
@placement_options
def command(
    run: Path,
    prompts: tuple[str, ...],
    file: Path | None,
    policy: str,
    m: int | None,
    stream: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Continue each PROMPT with the experts of RUN for its language."""
    from transformers import set_seed

    from clustering.corpora.read import read_file

    texts = [*prompts, *((row.text for row in read_file(file)) if file else ())]
    if not texts:
        raise click.UsageError("no prompt: give one as an argument, or a file of them with --file.")
    if stream and as_json:
        raise click.UsageError("--stream prints text as it is made, --json one list at the end: choose one.")
    answer = made_of(AnswerOptions, settings)
    options: dict[str, Any] = {"policy": policy, "m": m, **answer.for_generate()}
    set_seed(answer.seed)
    lm = RoutedLM.from_pretrained(run, **settings)
    if stream:
        for text in texts:
            click.echo(text, nl=False)
            for piece in lm.stream(text, **options):
                click.echo(piece, nl=False)
            click.echo()
        return
    answers = lm.complete(texts, **options)
    if as_json:
        rows = [
            {"prompt": text, "text": found.text, "route": asdict(found.route)}
            for text, found in zip(texts, answers, strict=True)
        ]
        print_json(rows)
        return
    for text, found in zip(texts, answers, strict=True):
        weights = found.route.weights
        expert = max(weights, key=lambda name: weights[name])
        click.echo(f"[{found.route.language} -> {expert}] {text}{found.text}")
