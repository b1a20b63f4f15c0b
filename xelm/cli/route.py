"""`xelm route`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command("route", epilog='\b\nExample:\n  xelm route runs/a "Guten Morgen" "Buenos días"')
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a text.")
def command(run: Path, texts: tuple[str, ...], as_json: bool) -> None:
    """Say which experts of RUN each TEXT goes to, and why."""
    from xelm.routed import RoutedLM

    routes = RoutedLM.from_pretrained(run).route(list(texts))
    if as_json:
        click.echo(json.dumps([asdict(route) for route in routes], ensure_ascii=False))
        return
    for text, route in zip(texts, routes, strict=True):
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in route.weights.items() if weight >= 0.005)
        click.echo(f"{text}\n  {route.language} ({route.confidence:.2f}) -> {weights}\n  {route.reason}")
