"""`xelm route`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.cli._placement import languages_option
from xelm.inference.routed import RoutedLM

if TYPE_CHECKING:
    from router.routes.weigh import Route


@click.command(
    "route",
    cls=Command,
    epilog='\b\nExample:\n  xelm route runs/a "Guten Morgen" "Buenos días"\n'
    '  xelm route runs/a --spans "Guten Morgen. Buenos días."',
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@options_of(RoutedLM.route, names=("spans",))
@click.option(
    "--probe",
    is_flag=True,
    help="Let all models read the TEXTs in languages that no expert was trained on; the best of them answers.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON list with a route for each text; with --spans a list of routes.",
)
@languages_option
def command(run: Path, texts: tuple[str, ...], spans: bool, probe: bool, as_json: bool, languages: str) -> None:
    """Show which experts of RUN answer each TEXT, and why."""
    lm = RoutedLM.from_pretrained(run, languages=languages)
    if probe:
        lm.probe(list(texts))
    if spans:
        parts = lm.route(list(texts), spans=True)
        rows: list[Any] = [[asdict(part) for part in its_parts] for its_parts in parts]
        shown = [
            (text[part.start : part.stop], part.route)
            for text, its_parts in zip(texts, parts, strict=True)
            for part in its_parts
        ]
    else:
        routes = lm.route(list(texts))
        rows, shown = [asdict(route) for route in routes], list(zip(texts, routes, strict=True))
    if as_json:
        print_json(rows)
    else:
        click.echo("\n".join(_lines(*pair) for pair in shown))


def _lines(text: str, route: Route) -> str:
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in route.weights.items() if weight >= 0.005)
    return f"{text}\n  {route.language} ({route.confidence:.2f}) -> {weights}\n  {route.reason}"
