"""The gateway as a web application: requests of OpenAI's API come in, answers of other engines go out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from xelm.gateway.asked import ROUTED, Asked, RefusedError, merged, read_request
from xelm.gateway.engines import Pool
from xelm.gateway.metrics import GatewayMetrics
from xelm.gateway.patience import Patience
from xelm.gateway.proxy import ClientLeftError, Proxy, noting_reuse, parsed
from xelm.gateway.routing import Dispatcher, Sent, header_of
from xelm.run.names import BASE

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM

ROUTE_HEADER = "x-xelm-route"
_MOST_BYTES = 16 << 20
_IDLE_S = 3.0
"""How long a connection to an engine is kept without a request: less than uvicorn does, which closes it after 5 s."""
_CLIENT_LEFT = 499


def make_gateway(lm: RoutedLM, pool: Pool, patience: Patience) -> web.Application:
    """The application.

    Args:
        lm: The run whose router decides; its models are not loaded.
        pool: The engines.
        patience: How long requests are tried.
    """
    app = web.Application(client_max_size=_MOST_BYTES, middlewares=[_errors])
    gateway = _Gateway(lm, pool, patience)
    app.cleanup_ctx.append(gateway.run)
    app.router.add_post("/v1/completions", gateway.completions)
    app.router.add_post("/v1/chat/completions", gateway.chat)
    app.router.add_get("/v1/models", gateway.models)
    app.router.add_get("/health", gateway.health)
    app.router.add_get("/metrics", gateway.figures)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Give every error the form that OpenAI's clients read."""
    try:
        response: web.StreamResponse = await handler(request)
    except RefusedError as refused:
        headers = {"Retry-After": "1"} if refused.status == 503 else None
        return web.Response(
            body=refused.body(), status=refused.status, content_type="application/json", headers=headers
        )
    except web.HTTPException as error:
        body = RefusedError(error.status, error.reason).body()
        return web.Response(body=body, status=error.status, content_type="application/json")
    except ClientLeftError:
        return web.Response(status=_CLIENT_LEFT)
    return response


class _Gateway:
    """The handlers, with what they share."""

    def __init__(self, lm: RoutedLM, pool: Pool, patience: Patience):
        self._lm, self._pool, self._patience = lm, pool, patience
        self._dispatcher, self._metrics = Dispatcher(lm), GatewayMetrics(pool)
        self._decode = _Decoder(lm.experts.folder(BASE))
        self._proxy: Proxy

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Hold the connections to the engines, and watch them, while the application runs."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=True, trace_configs=[noting_reuse()]
        ) as session:
            self._proxy = Proxy(session, self._pool, self._metrics, self._patience)
            self._pool.start(session)
            yield
            await self._pool.stop()

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/completions."""
        return await self._answer(request, chat=False)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        return await self._answer(request, chat=True)

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        started_s = time.perf_counter()
        asked = read_request(await request.read(), chat=chat, decode=self._decode)
        sent = await self._dispatcher.send(asked)
        self._metrics.routed(time.perf_counter() - started_s)
        experts, status = list(dict.fromkeys(one.expert for one in sent)), 500
        try:
            if len(experts) > 1:
                response: web.StreamResponse = await self._split(request, asked, sent)
                status = response.status
            elif asked.streams:
                response, status = await self._stream(request, asked, sent)
            else:
                rows = range(len(sent))
                answer = await self._proxy.whole(
                    experts[0], request.path, partial(asked.part, rows=rows), request.headers
                )
                headers = {**answer.headers, ROUTE_HEADER: header_of(sent)}
                response, status = web.Response(body=answer.body, status=answer.status, headers=headers), answer.status
        except RefusedError as refused:
            status = refused.status
            raise
        except (ClientLeftError, asyncio.CancelledError):
            status = _CLIENT_LEFT
            raise
        finally:
            for expert in experts:
                self._metrics.request(expert, status)
        return response

    async def _stream(self, request: web.Request, asked: Asked, sent: list[Sent]) -> tuple[web.StreamResponse, int]:
        async def begin(status: int, headers: dict[str, str]) -> web.StreamResponse:
            response = web.StreamResponse(status=status, headers={**headers, ROUTE_HEADER: header_of(sent)})
            await response.prepare(request)
            return response

        rows = range(len(sent))
        return await self._proxy.stream(
            sent[0].expert, request.path, partial(asked.part, rows=rows), request.headers, begin
        )

    async def _split(self, request: web.Request, asked: Asked, sent: list[Sent]) -> web.Response:
        """Prompts of several experts: each expert answers its own, and the answers come as one."""
        if asked.streams:
            raise RefusedError(
                400, "the prompts belong to several experts, whose answers cannot be streamed as one. Send them apart."
            )
        rows_of: dict[str, list[int]] = {}
        for row, one in enumerate(sent):
            rows_of.setdefault(one.expert, []).append(row)
        asking = [
            self._proxy.whole(expert, request.path, partial(asked.part, rows=rows), request.headers)
            for expert, rows in rows_of.items()
        ]
        answers = await asyncio.gather(*asking)
        headers = {ROUTE_HEADER: header_of(sent)}
        parts = []
        for rows, answer in zip(rows_of.values(), answers, strict=True):
            body = parsed(answer) if answer.status == 200 else None
            if body is None:  # the first error is the answer to the whole request
                return web.Response(body=answer.body, status=answer.status, headers={**answer.headers, **headers})
            parts.append((rows, body))
        return web.json_response(merged(parts, len(sent)), headers=headers)

    async def models(self, _request: web.Request) -> web.Response:
        """GET /v1/models: the routed model, and the experts that an engine serves."""
        names = [*ROUTED, *(name for name in self._lm.names if self._pool.of(name))]
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "xelm"} for name in names]
        return web.json_response({"object": "list", "data": rows})

    async def health(self, _request: web.Request) -> web.Response:
        """GET /health: 200 if every expert has an engine that answers, else 503 with those that have none."""
        missing = [name for name in self._lm.names if not any(engine.is_up for engine in self._pool.of(name))]
        engines = [
            {"expert": e.name, "url": e.url, "up": e.is_up, "in_flight": e.in_flight} for e in self._pool.engines
        ]
        body = {"status": "ok" if not missing else "degraded", "without_engine": missing, "engines": engines}
        return web.json_response(body, status=503 if missing else 200)

    async def figures(self, _request: web.Request) -> web.Response:
        """GET /metrics."""
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})


class _Decoder:
    """From token ids to text with the run's tokenizer, which is read when a request first has ids."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._tokenizer: Any = None

    def __call__(self, ids: list[int]) -> str:
        if self._tokenizer is None:
            from tokenizers import Tokenizer

            file = self._folder / "tokenizer.json"
            if not file.is_file():
                raise RefusedError(
                    400, "prompt: this run's tokenizer has no file that the gateway can read; send text."
                )
            self._tokenizer = Tokenizer.from_file(str(file))
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))
