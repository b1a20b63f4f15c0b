"""`xelm serve`."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import click

from clustering.errors import BadInput
from xelm.cli._options import Command, made_of, option, options_of
from xelm.cli._placement import placement_options
from xelm.serving.limits import Access, Limits

logger = logging.getLogger(__name__)
_HEADERS_S = 10.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command(
    "serve",
    cls=Command,
    epilog="\b\nExample:\n  xelm serve runs/a --port 8000\n"
    "  curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\\n"
    '    -d \'{"model": "top1", "prompt": "Guten Morgen", "max_tokens": 20}\'',
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes any free one."
)
@option(
    "--api-key",
    envvar="XELM_API_KEY",
    show_envvar=True,
    group="Access",
    help="Key that clients of /v1/… must send. Set it in the environment: other users of the machine can read it on "
    "the command line.",
)
@option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    group="Access",
    help="Another name by which clients reach the server, such as that of a proxy. May be repeated.",
)
@options_of(Limits, group="Limits")
@placement_options
def command(
    run: Path,
    host: str,
    port: int,
    api_key: str | None,
    allowed_hosts: tuple[str, ...],
    **options: Any,
) -> None:
    """Serve RUN over HTTP in the form of OpenAI's API, until SIGTERM or Ctrl-C.

    `model` is a policy (top1, topm, ensemble, bayes) or an expert's name. POST /v1/completions, /v1/chat/completions
    (where the base has a chat template) and /v1/route; GET /v1/models, /health and /metrics.
    """
    limits = made_of(Limits, options)
    try:
        from xelm.serving.app import make_app
        from xelm.serving.server import make_server
    except ModuleNotFoundError as error:
        raise BadInput(f"serving needs {error.name}: pip install 'xelm[serve]'.") from None
    from xelm.inference.routed import RoutedLM
    from xelm.serving.engine.engine import Engine

    lm = RoutedLM.from_pretrained(run, **options)
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if host not in _LOOPBACK and api_key is None:
        logger.warning("%s can be reached from other machines, and asks for no key: see --api-key", host)
    # On loopback only its own names are accepted, so that no web page can use a browser to send requests.
    own = {*_LOOPBACK, host.lower()} if host in _LOOPBACK or allowed_hosts else set()
    hosts = frozenset({*own, *(name.lower() for name in allowed_hosts)}) or None
    access = Access(api_key=api_key, hosts=hosts)
    engine = Engine(lm, max_batch=limits.max_batch, max_queued=limits.max_queued, max_kept_bytes=limits.max_kept_bytes)
    # The server raises the signal that ended it once more when all is closed; this end is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"serving {run} on http://{shown}:{listening.getsockname()[1]}")
    sys.stdout.flush()
    app, headers_s = make_app(engine, limits, access), min(_HEADERS_S, limits.timeout_s)
    server = make_server(app, engine, max_connections=limits.max_connections, headers_s=headers_s)
    server.run(sockets=[listening])
