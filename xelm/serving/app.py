"""The HTTP face of a run: OpenAI's completions, models and health."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from clustering.errors import BadInput
from router.routes.policy import POLICIES
from router.routes.weigh import Route
from xelm import __version__
from xelm.serving.engine import Busy, Engine
from xelm.serving.jobs import Event, Job
from xelm.serving.schema import CompletionRequest, Envelope, error_body

logger = logging.getLogger(__name__)
_LOOK_FOR_CLIENT_S = 1.0
# Nobody reads this status; other servers log it for the same case.
_CLIENT_LEFT = 499
_MOST_PROBLEMS_TOLD = 3
# A client that is still sending when its connection is closed sees a reset, not the answer: so much more is read first.
_READ_AND_DROPPED = 8


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may take.

    Attributes:
        max_body_bytes: Of its JSON.
        max_tokens: Of each answer, whatever is asked.
        timeout_s: From arrival to the last token, waiting included.
    """

    max_body_bytes: int = 1 << 20
    max_tokens: int = 1024
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_tokens", "timeout_s"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name}={getattr(self, name)} must be greater than 0.")


class _Refused(Exception):
    """A request that gets an error as its answer."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None):
        super().__init__(message)
        self.status, self.kind, self.code = status, kind, code


def make_app(engine: Engine, limits: Limits | None = None) -> FastAPI:
    """The application; it closes the engine when it shuts down.

    Args:
        engine: Answers the jobs.
        limits: What a request may take.
    """
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    app = FastAPI(title="xelm", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    names = [*POLICIES, *engine.lm.names]
    started = int(time.time())

    def model_row(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "xelm"}

    @app.get("/health")
    async def health() -> JSONResponse:
        state = {"status": "ok" if engine.is_alive else "closed", "waiting": engine.num_waiting}
        return JSONResponse(state, 200 if engine.is_alive else 503)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model_row(name) for name in names]}

    @app.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        _check_model(engine, name)
        return model_row(name)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        deadline_s = time.monotonic() + limits.timeout_s
        asked = _parse(await _body(request, limits))
        job, news = await _submit(engine, asked, limits, deadline_s)
        if asked.stream:
            return StreamingResponse(_stream(job, news, asked), media_type="text/event-stream")
        return JSONResponse(await _whole(request, job, news, asked.model))

    _handle_errors(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    def refused(_request: Request, error: Any) -> JSONResponse:
        headers = {"Retry-After": "1"} if error.status == 503 else None
        return JSONResponse(error_body(str(error), error.kind, error.code), error.status, headers=headers)

    def http(_request: Request, error: Any) -> JSONResponse:
        return JSONResponse(error_body(str(error.detail)), error.status_code, headers=error.headers)

    def failed(_request: Request, _error: Any) -> JSONResponse:
        return JSONResponse(error_body("internal error; the server's log says why.", "server_error"), 500)

    handlers: dict[Any, Callable[[Request, Any], JSONResponse]] = {
        _Refused: refused,
        HTTPException: http,
        Exception: failed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _body(request: Request, limits: Limits) -> bytes:
    """The body, no longer than allowed, and not slower than the time limit."""
    body, num_bytes, most = bytearray(), 0, limits.max_body_bytes
    try:
        async with asyncio.timeout(limits.timeout_s):
            async for chunk in request.stream():
                num_bytes += len(chunk)
                if num_bytes <= most:
                    body += chunk
                elif num_bytes > _READ_AND_DROPPED * most:
                    break
    except TimeoutError:
        raise _Refused(408, "the body did not arrive in time.") from None
    except ClientDisconnect:
        raise _Refused(_CLIENT_LEFT, "the client left before the body was whole.") from None
    if num_bytes > most:
        raise _Refused(413, f"the body is longer than {most} bytes.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _Refused(415, "send JSON, with the header Content-Type: application/json.")
    return bytes(body)


def _parse(body: bytes) -> CompletionRequest:
    try:
        return CompletionRequest.model_validate_json(body)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False, include_context=False)
        places = [f"{'.'.join(str(part) for part in e['loc']) or 'body'}: {e['msg']}" for e in told]
        rest = len(places) - _MOST_PROBLEMS_TOLD
        more = [f"and {rest} more"] if rest > 0 else []
        raise _Refused(400, "; ".join([*places[:_MOST_PROBLEMS_TOLD], *more])) from None


def _check_model(engine: Engine, name: str) -> None:
    try:
        engine.lm.policy(name)
    except BadInput as error:
        raise _Refused(404, str(error), code="model_not_found") from None


async def _submit(
    engine: Engine, asked: CompletionRequest, limits: Limits, deadline_s: float
) -> tuple[Job, asyncio.Queue[Event]]:
    news: asyncio.Queue[Event] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(event: Event) -> None:
        # While the server shuts down, the loop may be gone before the engine.
        if not loop.is_closed():
            loop.call_soon_threadsafe(news.put_nowait, event)

    _check_model(engine, asked.model)
    max_tokens = min(asked.max_tokens, limits.max_tokens)
    try:
        answers = await asyncio.to_thread(
            engine.answers, asked.prompts, asked.sampling, max_tokens=max_tokens, stops=asked.stops, n=asked.n
        )
        job = Job(answers, asked.sampling, deadline_s, tell)
        engine.submit(job)
    except BadInput as error:
        raise _Refused(400, str(error)) from None
    except Busy as error:
        raise _Refused(503, str(error), "server_error") from None
    return job, news


async def _whole(request: Request, job: Job, news: asyncio.Queue[Event], model: str) -> dict[str, Any]:
    texts = [""] * len(job.answers)
    routes: list[Route | None] = [None] * len(job.answers)
    try:
        while True:
            event = await _next(news, job)
            if event is None:
                if await request.is_disconnected():
                    raise _Refused(_CLIENT_LEFT, "the client left.")
                continue
            if event.error:
                raise _Refused(event.status, event.error, "server_error")
            if event.is_end:
                return Envelope(model).whole(texts, routes, job.answers)
            texts[event.index] += event.text
            routes[event.index] = event.route or routes[event.index]
    finally:
        job.cancelled.set()


async def _stream(job: Job, news: asyncio.Queue[Event], asked: CompletionRequest) -> AsyncIterator[str]:
    envelope = Envelope(asked.model)
    try:
        while True:
            event = await _next(news, job)
            if event is None:
                continue
            if event.error:
                yield _sse(error_body(event.error, "server_error"))
                return
            if event.is_end:
                if asked.wants_usage:
                    yield _sse(envelope.usage_piece(job.answers))
                yield "data: [DONE]\n\n"
                return
            yield _sse(envelope.piece(event.index, event.text, event.finish_reason, event.route))
    finally:
        job.cancelled.set()


async def _next(news: asyncio.Queue[Event], job: Job) -> Event | None:
    """The next event; None if a while passes without one. A job past its time ends, whatever the engine does."""
    try:
        return await asyncio.wait_for(news.get(), _LOOK_FOR_CLIENT_S)
    except TimeoutError:
        if time.monotonic() > job.deadline_s + _LOOK_FOR_CLIENT_S:
            return Event(error="the time limit passed.", status=504, is_end=True)
        return None


def _sse(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
