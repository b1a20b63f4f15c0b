"""`xelm generate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command(
    "generate",
    epilog='\b\nExample:\n  xelm generate runs/a "Guten Morgen" "Buenos días" --max-new-tokens 40\n'
    "  xelm generate runs/a --file prompts.txt --policy ensemble --json",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("--file", type=click.Path(path_type=Path), help="Prompts, one a line, besides those given.")
@click.option("--policy", default="top1", show_default=True, help="top1, topm, ensemble, bayes or an expert's name.")
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(min=1))
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), help="Sample with it; default: greedy.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampling.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list: prompt, text, route.")
def command(
    run: Path,
    prompts: tuple[str, ...],
    file: Path | None,
    policy: str,
    max_new_tokens: int,
    temperature: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Continue each PROMPT with the experts of RUN that its language calls for."""
    from transformers import set_seed

    from xelm.corpus.lines import read_lines
    from xelm.routed import RoutedLM

    texts = [*prompts, *((row.text for row in read_lines(file)) if file else ())]
    if not texts:
        raise click.UsageError("no prompt: give one as an argument, or --file with one a line.")
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    set_seed(seed)
    lm = RoutedLM.from_pretrained(run)
    answers = lm.generate(texts, policy=policy, max_new_tokens=max_new_tokens, **sampling)
    routes = lm.route(texts)
    if as_json:
        rows = [
            {"prompt": text, "text": answer, "route": asdict(route)}
            for text, answer, route in zip(texts, answers, routes, strict=True)
        ]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for text, answer, route in zip(texts, answers, routes, strict=True):
        expert = max(route.weights, key=lambda name: route.weights[name])
        click.echo(f"[{route.language} -> {expert}] {text}{answer}")
