"""The HTTP interface of a run: OpenAI's completions and chats, models, routes, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST

from clustering.errors import BadInput
from router.routes.policy import policy_names
from xelm import __version__
from xelm.serving.body import read_body
from xelm.serving.chat import chat_prompt
from xelm.serving.engine.engine import Engine
from xelm.serving.envelope import ChatEnvelope, Envelope
from xelm.serving.exchange import Exchange
from xelm.serving.limits import Access, Limits
from xelm.serving.metrics import Metrics
from xelm.serving.refused import Refused, handle_errors, refusal
from xelm.serving.schema import ChatRequest, CompletionRequest, RouteRequest

logger = logging.getLogger(__name__)


def make_app(engine: Engine, limits: Limits | None = None, access: Access | None = None) -> FastAPI:
    """The application; it closes the engine when it shuts down.

    Args:
        engine: The engine that answers the jobs.
        limits: Limits of a request.
        access: The clients that may send requests; None: all that can reach the server.
    """
    limits, access = limits or Limits(), access or Access()
    metrics = Metrics(engine)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    app = FastAPI(title="xelm", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    _watch(app, metrics, access)
    _add_models(app, engine)
    _add_generation(app, Exchange(engine, limits, metrics), limits)

    @app.get("/health")
    async def health() -> JSONResponse:
        state = {"status": "ok" if engine.is_alive else "closed", "waiting": engine.num_waiting}
        return JSONResponse(state, 200 if engine.is_alive else 503)

    @app.get("/metrics")
    async def figures() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.post("/v1/route")
    async def route(request: Request) -> JSONResponse:
        asked = await read_body(request, limits, RouteRequest)
        return JSONResponse({"routes": await asyncio.to_thread(_routes, engine, asked)})

    handle_errors(app)
    return app


def _watch(app: FastAPI, metrics: Metrics, access: Access) -> None:
    """Check the client of every request, and count the request."""

    @app.middleware("http")
    async def watch(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        started_s = time.monotonic()
        try:
            access.check(request)
            response = await answer(request)
        except Refused as refused:
            response = refused.response()
        metrics.request(request.url.path, response.status_code, started_s)
        return response


def _add_models(app: FastAPI, engine: Engine) -> None:
    started = int(time.time())

    def row(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "xelm"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [row(name) for name in (*policy_names(), *engine.lm.names)]}

    @app.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        try:
            engine.lm.policy(name)
        except BadInput as error:
            raise refusal(error, 404, "model_not_found") from None
        return row(name)


def _add_generation(app: FastAPI, exchange: Exchange, limits: Limits) -> None:
    engine = exchange.engine

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        deadline_s = time.monotonic() + limits.timeout_s
        asked = await read_body(request, limits, CompletionRequest)
        prompts = await exchange.prepare(lambda: engine.prompts(asked.prompts))
        job, news = await exchange.submit(prompts, asked, asked.max_tokens, deadline_s)
        envelope = Envelope(asked.model, engine.lm.tokenizer, log_probs=asked.logprobs is not None)
        if asked.stream:
            pieces = exchange.stream(job, news, envelope, wants_usage=asked.wants_usage)
            return StreamingResponse(pieces, media_type="text/event-stream")
        choices = await exchange.whole(request, job, news)
        if asked.echo:
            choices = await exchange.with_echo(choices, job, asked)
        return JSONResponse(envelope.whole(choices, job.answers))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        deadline_s = time.monotonic() + limits.timeout_s
        asked = await read_body(request, limits, ChatRequest)
        prompt = await exchange.prepare(lambda: [engine.chat(lambda t: chat_prompt(asked.messages, t))])
        most = asked.max_completion_tokens or asked.max_tokens or limits.max_tokens
        job, news = await exchange.submit(prompt, asked, most, deadline_s)
        envelope = ChatEnvelope(asked.model, engine.lm.tokenizer, log_probs=asked.logprobs)
        if asked.stream:
            pieces = exchange.stream(job, news, envelope, wants_usage=asked.wants_usage)
            return StreamingResponse(pieces, media_type="text/event-stream")
        return JSONResponse(envelope.whole(await exchange.whole(request, job, news), job.answers))


def _routes(engine: Engine, asked: RouteRequest) -> list[Any]:
    if asked.spans:
        return [[asdict(span) for span in spans] for spans in engine.lm.route(asked.texts, spans=True)]
    return [asdict(route) for route in engine.lm.route(asked.texts)]
