"""`xelm gateway`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from clustering.errors import BadInput
from xelm.cli._options import Command, made_of, options_of
from xelm.cli._placement import languages_option
from xelm.gateway.patience import Patience

logger = logging.getLogger(__name__)


@click.command(
    "gateway",
    cls=Command,
    epilog="\b\nExample:\n  xelm gateway runs/a --engine c1-deu=http://gpu1:8000 --engine c2-rus=http://gpu2:8000 \\\n"
    "    --engine base=http://gpu3:8000\n  xelm gateway runs/lora --engine '*=http://gpu1:8000'",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    "engines",
    multiple=True,
    required=True,
    metavar="NAME=URL",
    help="Engine of an expert (or of base), in the form of OpenAI's API. NAME * serves all, such as one base with all "
    "adapters. NAME=URL#MODEL gives the model's name there. May be repeated, also for one NAME.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes any free one."
)
@options_of(Patience, group="Limits")
@languages_option
def command(
    run: Path,
    engines: tuple[str, ...],
    host: str,
    port: int,
    languages: str,
    **limits: float,
) -> None:
    """Send each request to the engine of the expert that its text calls for; no model is loaded here.

    Clients ask as they would ask OpenAI's API, with model `top1` (or none, or an expert's name). `model` is rewritten,
    the answer is handed through as it comes, and x-xelm-route says where it went. Keys are passed on to the engines.
    Mixtures of experts need them in one process: `xelm serve`.
    """
    try:
        from xelm.gateway.app import make_gateway
        from xelm.gateway.server import serve_gateway
    except ModuleNotFoundError as error:
        raise BadInput(f"the gateway needs {error.name}: pip install 'xelm[gateway]'.") from None
    from xelm.gateway.engines import Pool, read_engines
    from xelm.inference.routed import RoutedLM

    patience = made_of(Patience, limits)
    lm = RoutedLM.from_pretrained(run, languages=languages)
    pool = Pool(read_engines(engines, lm.names), every_s=patience.check_s)
    without = [name for name in lm.names if not pool.of(name)]
    if without:
        logger.warning("no engine for %s: requests that go there get status 503", ", ".join(without))
    app = make_gateway(lm, pool, patience)

    def listening(port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"gateway to {run} on http://{shown}:{port}")
        sys.stdout.flush()

    serve_gateway(app, host, port, listening)
