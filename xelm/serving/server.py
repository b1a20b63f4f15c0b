"""Serving until a signal, and an orderly end: running answers get a while, then each is told why it breaks off."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from fastapi import FastAPI

from xelm.serving.engine import Engine

GRACE_S = 5.0
# After the grace: the token at hand is ended, and every client is told.
_LAST_WORDS_S = 5


def serve(app: FastAPI, engine: Engine, listening: socket.socket, *, max_connections: int) -> None:
    """Answer on a listening socket until SIGTERM or Ctrl-C, which is raised once more when all is closed.

    Args:
        app: From `make_app`.
        engine: Its engine.
        listening: Where requests come from.
        max_connections: More at a time are refused with status 503.
    """
    config = uvicorn.Config(
        app,
        # Below it stands a line for every malformed request.
        log_level="error",
        lifespan="on",
        limit_concurrency=max_connections,
        timeout_graceful_shutdown=int(GRACE_S) + _LAST_WORDS_S,
    )
    _Server(config, engine).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends the engine first, so that open connections have something to say before they are closed."""

    def __init__(self, config: uvicorn.Config, engine: Engine):
        super().__init__(config)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.create_task(asyncio.to_thread(self._engine.close, GRACE_S))
        await super().shutdown(sockets)
        await ending
