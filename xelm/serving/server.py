"""The server process: it closes connections that send no request, and shuts down in order."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from xelm.serving.engine.engine import Engine

GRACE_S = 5.0
# After the grace period: the current token is finished, and every client gets a message.
_LAST_WORDS_S = 5


def make_server(app: FastAPI, engine: Engine, *, max_connections: int, headers_s: float = 10.0) -> uvicorn.Server:
    """A server whose `run` answers until SIGTERM or Ctrl-C, which it raises once more when all is closed.

    Args:
        app: The application from `make_app`.
        engine: Its engine. At the end, running answers get `GRACE_S` seconds, then each ends with the reason.
        max_connections: More at a time are refused with status 503.
        headers_s: How long a connection may take to send the head of a request.
    """
    config = uvicorn.Config(
        app,
        http=type("_Protocol", (_Connection,), {"headers_s": headers_s}),
        # At a lower level, uvicorn logs a line for every malformed request.
        log_level="error",
        lifespan="on",
        limit_concurrency=max_connections,
        timeout_graceful_shutdown=int(GRACE_S) + _LAST_WORDS_S,
    )
    return _Server(config, engine)


class _Connection(H11Protocol):
    """Closes a connection that sends no complete request in time; uvicorn itself would wait for ever."""

    headers_s: float
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        # asyncio sets this only on sockets that name their protocol, which those given to uvicorn need not do. Without
        # it, the body of an answer, or a token of a stream, waits 40 ms until the client acknowledges what came before.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    @property
    def _has_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if self._has_request:
            self._stop_waiting()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.headers_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self._has_request:
            self.transport.close()


class _Server(uvicorn.Server):
    """Ends the engine first, so that open connections send the reason before they are closed."""

    def __init__(self, config: uvicorn.Config, engine: Engine):
        super().__init__(config)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.create_task(asyncio.to_thread(self._engine.close, GRACE_S))
        await super().shutdown(sockets)
        await ending
