"""`xelm generate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from xelm.cli._placement import placement_options


@click.command(
    "generate",
    epilog='\b\nExample:\n  xelm generate runs/a "Guten Morgen" "Buenos días" --max-new-tokens 40\n'
    "  xelm generate runs/a --file prompts.txt --policy ensemble --json",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("--file", type=click.Path(path_type=Path), help="Prompts, one a line, besides those given.")
@click.option("--policy", default="top1", show_default=True, help="top1, topm, ensemble, bayes or an expert's name.")
@click.option("--m", type=click.IntRange(min=1), help="How many experts topm keeps.")
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(min=1))
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), help="Sample with it; default: greedy.")
@click.option("--top-p", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True))
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampling.")
@click.option("--stream", is_flag=True, help="Print the answers as they come, one prompt after the other.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list: prompt, text, route.")
@placement_options
def command(
    run: Path,
    prompts: tuple[str, ...],
    file: Path | None,
    policy: str,
    m: int | None,
    max_new_tokens: int,
    temperature: float | None,
    top_p: float,
    seed: int,
    stream: bool,
    as_json: bool,
    **placement: Any,
) -> None:
    """Continue each PROMPT with the experts of RUN that its language calls for."""
    from transformers import set_seed

    from clustering.corpora.read import read_file
    from xelm.inference.routed import RoutedLM

    texts = [*prompts, *((row.text for row in read_file(file)) if file else ())]
    if not texts:
        raise click.UsageError("no prompt: give one as an argument, or --file with one a line.")
    if stream and as_json:
        raise click.UsageError("--stream prints text as it comes; --json prints one whole list. Choose one.")
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p} if temperature else {"do_sample": False}
    options: dict[str, Any] = {"policy": policy, "m": m, "max_new_tokens": max_new_tokens, **sampling}
    set_seed(seed)
    lm = RoutedLM.from_pretrained(run, **placement)
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
            {"prompt": text, "text": answer.text, "route": asdict(answer.route)}
            for text, answer in zip(texts, answers, strict=True)
        ]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for text, answer in zip(texts, answers, strict=True):
        weights = answer.route.weights
        expert = max(weights, key=lambda name: weights[name])
        click.echo(f"[{answer.route.language} -> {expert}] {text}{answer.text}")
