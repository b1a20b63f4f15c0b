"""The gateway's process: it listens, and ends in order on SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from aiohttp import web

from clustering.errors import BadInput, arg

_GRACE_S = 10.0


def serve_gateway(app: web.Application, host: str, port: int, listening: Callable[[int], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; running requests then get ten seconds.

    Args:
        app: The application.
        host: Address to listen on.
        port: Port; 0 takes any free one.
        listening: Called with the port once requests are answered.

    Raises:
        BadInput: If the port cannot be had.
    """
    asyncio.run(_serve(app, host, port, listening))


async def _serve(app: web.Application, host: str, port: int, listening: Callable[[int], None]) -> None:
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_GRACE_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise BadInput(f"{arg('host', host)}, {arg('port', port)}: {error.strerror or error}.") from None
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, ended.set)
        listening(runner.addresses[0][1])
        await ended.wait()
    finally:
        await runner.cleanup()
