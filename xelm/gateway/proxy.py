"""One request at one engine, sent again elsewhere or later as long as the client has seen nothing of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeVar

import aiohttp
from aiohttp import web

from xelm.gateway.asked import RefusedError
from xelm.gateway.engines import Engine, Pool
from xelm.gateway.metrics import GatewayMetrics
from xelm.gateway.patience import Patience

# Belong to one connection, or are set anew.
_OF_CONNECTION = frozenset(
    {
        "host",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
        "accept-encoding",
        "date",
        "server",
    }
)
_BUSY = (502, 503, 504)
_MOST_STALE = 3
"""Kept connections that one request may find closed until that counts as the engine's death."""


@dataclass(frozen=True)
class Answer:
    """A whole answer of an engine."""

    status: int
    headers: dict[str, str]
    body: bytes
    engine: Engine


class ClientLeftError(Exception):
    """The client closed its connection before the answer was complete."""


class _Lost(Exception):
    """The engine did not answer, or stopped before its answer was complete; the message says how."""


class _Stale(Exception):
    """A connection that was kept from an earlier request was closed: an engine does that with idle ones."""


class _Silent(Exception):
    """The engine sent nothing for too long."""


def noting_reuse() -> aiohttp.TraceConfig:
    """What a session needs so that the proxy knows whether a request went over a connection kept from another."""

    async def note(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.is_reused = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(note)
    return tracing


R = TypeVar("R")
_Read = Callable[[Engine, aiohttp.ClientResponse], Awaitable[R]]
Payload = Callable[[str], bytes]
"""From the model's name at an engine to the body of the request."""


class Proxy:
    """Sends requests to engines.

    Args:
        session: Connections to the engines.
        pool: The engines.
        metrics: Counts.
        patience: See `Patience`.
    """

    def __init__(self, session: aiohttp.ClientSession, pool: Pool, metrics: GatewayMetrics, patience: Patience):
        self._session, self._pool, self._metrics, self._patience = session, pool, metrics, patience
        # Only silence counts: an answer may take as long as it likes.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=patience.timeout_s)

    async def whole(self, expert: str, path: str, payload: Payload, headers: Mapping[str, str]) -> Answer:
        """The complete answer of an engine of the expert.

        Raises:
            RefusedError: If no engine answers in time.
        """

        async def read(engine: Engine, response: aiohttp.ClientResponse) -> Answer:
            return Answer(response.status, _passed_on(response.headers), await response.read(), engine)

        return await self._try(expert, path, payload, headers, read)

    async def stream(
        self,
        expert: str,
        path: str,
        payload: Payload,
        headers: Mapping[str, str],
        begin: Callable[[int, dict[str, str]], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, int]:
        """Hand an engine's answer through as it comes.

        Args:
            expert: The expert.
            path: Path at the engine.
            payload: See `Payload`.
            headers: Headers of the client's request.
            begin: Starts the answer to the client, from status and headers.

        Returns:
            The answer, which has ended, and its status. A stream that the engine broke off ends with an error event.

        Raises:
            RefusedError: If no engine answers in time.
            ClientLeftError: If the client leaves.
        """

        async def read(engine: Engine, response: aiohttp.ClientResponse) -> tuple[web.StreamResponse, int]:
            chunks = response.content.iter_any()
            first = await anext(chunks, b"")
            answer = await begin(response.status, _passed_on(response.headers))
            chunk = first
            while chunk:
                await _write(answer, chunk)
                try:
                    chunk = await anext(chunks, b"")
                except (aiohttp.ClientError, TimeoutError) as error:
                    self._pool.down(engine, str(error) or type(error).__name__)
                    self._metrics.broken(engine)
                    broken = RefusedError(502, f"the engine of {expert} broke its answer off.", "engine_lost")
                    await _write(answer, b"data: " + broken.body() + b"\n\n")
                    break
            await answer.write_eof()
            return answer, response.status

        return await self._try(expert, path, payload, headers, read)

    async def _try(self, expert: str, path: str, payload: Payload, headers: Mapping[str, str], read: _Read[R]) -> R:
        """Send a request until an engine answers it."""
        loop = asyncio.get_running_loop()
        until_s, pause_s, num_stale = loop.time() + self._patience.wait_s, 0.05, 0
        if not self._pool.of(expert):
            raise RefusedError(503, f"no engine serves {expert}: start the gateway with --engine {expert}=URL.")
        while True:
            engine = await self._pool.choose(expert, until_s)
            late = loop.time() >= until_s
            if engine is None:
                waited = f"{self._patience.wait_s:g} s"
                raise RefusedError(503, f"no engine of {expert} answered for {waited}.", "engine_down")
            try:
                trusts = num_stale < _MOST_STALE
                body = payload(engine.model_for(expert))
                return await self._once(engine, path, body, headers, read, is_last=late, trusts=trusts)
            except _Stale:
                num_stale += 1
                continue  # at once, over another connection: the engine may be as well as before
            except _Lost as lost:
                self._metrics.retry(engine)
                if late:
                    raise RefusedError(502, f"the engine of {expert} does not answer: {lost}", "engine_lost") from None
            except _Silent:
                silence = f"{self._patience.timeout_s:g} s"
                raise RefusedError(504, f"the engine of {expert} was silent for {silence}.", "timeout") from None
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, 2 * pause_s)

    async def _once(
        self,
        engine: Engine,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        read: _Read[R],
        *,
        is_last: bool,
        trusts: bool,
    ) -> R:
        """One attempt.

        Args:
            engine: Where.
            path: See `whole`.
            body: Of the request.
            headers: See `whole`.
            read: Reads the answer.
            is_last: Whether the answer counts even if the engine says that it is busy.
            trusts: Whether a connection that was kept and is closed says nothing about the engine.

        Raises:
            _Stale: If it may be tried again at once: the connection was an old one.
            _Lost: If it may be tried again: the client has seen nothing.
            _Silent: If the engine took too long.
        """
        engine.in_flight += 1
        connection = SimpleNamespace(is_reused=False)
        try:
            async with self._session.post(
                engine.url + path,
                data=body,
                headers=_passed_on(headers),
                timeout=self._timeout,
                trace_request_ctx=connection,
            ) as response:
                if response.status in _BUSY and not is_last:
                    await response.read()
                    raise _Lost(f"status {response.status}")
                return await read(engine, response)
        except aiohttp.SocketTimeoutError:
            raise _Silent from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            if connection.is_reused and trusts:
                raise _Stale from None
            self._pool.down(engine, str(error) or type(error).__name__)
            raise _Lost(str(error) or type(error).__name__) from None
        finally:
            engine.in_flight -= 1


async def _write(answer: web.StreamResponse, data: bytes) -> None:
    """Write to the client, whose connection is no engine's."""
    try:
        await answer.write(data)
    except ConnectionError as error:
        raise ClientLeftError from error


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OF_CONNECTION}


def parsed(answer: Answer) -> dict[str, object] | None:
    """The JSON object of an answer; None if it is none."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
