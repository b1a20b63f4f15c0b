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
from xelm.cli._options import Command, option
from xelm.cli._placement import placement_options

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
@option(
    "--max-batch",
    default=32,
    show_default=True,
    type=click.IntRange(min=1),
    group="Limits",
    help="Most answers computed in one pass.",
)
@option(
    "--max-queued",
    default=1024,
    show_default=True,
    type=click.IntRange(min=1),
    group="Limits",
    help="Most answers that wait; further requests get 503.",
)
@option(
    "--max-body-bytes",
    default=1 << 20,
    show_default=True,
    type=click.IntRange(min=1),
    group="Limits",
    help="Largest request, in bytes.",
)
@option(
    "--max-tokens",
    default=1024,
    show_default=True,
    type=click.IntRange(min=1),
    group="Limits",
    help="Most tokens of an answer.",
)
@option(
    "--timeout-s",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    group="Limits",
    help="Seconds after which a request that is not answered gets 503.",
)
@option(
    "--max-connections",
    default=512,
    show_default=True,
    type=click.IntRange(min=1),
    group="Limits",
    help="Most connections at the same time.",
)
@placement_options
def command(
    run: Path,
    host: str,
    port: int,
    max_batch: int,
    max_queued: int,
    max_body_bytes: int,
    max_tokens: int,
    timeout_s: float,
    max_connections: int,
    api_key: str | None,
    allowed_hosts: tuple[str, ...],
    **placement: Any,
) -> None:
    """Serve RUN over HTTP in the form of OpenAI's API, until SIGTERM or Ctrl-C.

    `model` is a policy (top1, topm, ensemble, bayes) or an expert's name. POST /v1/completions, /v1/chat/completions
    (where the base has a chat template) and /v1/route; GET /v1/models, /health and /metrics.
    """
    try:
        from xelm.serving.app import make_app
        from xelm.serving.limits import Access, Limits
        from xelm.serving.server import make_server
    except ModuleNotFoundError as error:
        raise BadInput(f"serving needs {error.name}: pip install 'xelm[serve]'.") from None
    from xelm.inference.routed import RoutedLM
    from xelm.serving.engine.engine import Engine

    limits = Limits(max_body_bytes=max_body_bytes, max_tokens=max_tokens, timeout_s=timeout_s)
    lm = RoutedLM.from_pretrained(run, **placement)
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if host not in _LOOPBACK and api_key is None:
        logger.warning("%s can be reached from other machines, and asks for no key: see --api-key", host)
    # On loopback only its own names are accepted, so that no web page can use a browser to send requests.
    own = {*_LOOPBACK, host.lower()} if host in _LOOPBACK or allowed_hosts else set()
    hosts = frozenset({*own, *(name.lower() for name in allowed_hosts)}) or None
    access = Access(api_key=api_key, hosts=hosts)
    engine = Engine(lm, max_batch=max_batch, max_queued=max_queued)
    # The server raises the signal that ended it once more when all is closed; this end is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"serving {run} on http://{shown}:{listening.getsockname()[1]}")
    sys.stdout.flush()
    headers_s = min(_HEADERS_S, timeout_s)
    server = make_server(make_app(engine, limits, access), engine, max_connections=max_connections, headers_s=headers_s)
    server.run(sockets=[listening])
