"""The body of a request, read within its limits and checked."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from xelm.serving.limits import Limits
from xelm.serving.refused import CLIENT_LEFT, Refused

Form = TypeVar("Form", bound=BaseModel)
_MOST_PROBLEMS_SHOWN = 3
# A client that still sends when its connection is closed sees a reset, not the answer; so first read this much more.
_READ_AND_DROPPED = 8


async def read_body(request: Request, limits: Limits, form: type[Form]) -> Form:
    """The body as a checked request.

    Raises:
        Refused: If it is too long, arrives too slowly, is not JSON, or does not have that form.
    """
    return _parse(await _read(request, limits), form)


async def _read(request: Request, limits: Limits) -> bytes:
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
        raise Refused(408, "the body did not arrive in time.") from None
    except ClientDisconnect:
        raise Refused(CLIENT_LEFT, "the client left before the body was whole.") from None
    if num_bytes > most:
        raise Refused(413, f"the body is longer than {most} bytes.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send JSON, with the header Content-Type: application/json.")
    return bytes(body)


def _parse(body: bytes, form: type[Form]) -> Form:
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        problems = [_sentence(problem) for problem in error.errors(include_url=False, include_context=False)]
        rest = len(problems) - _MOST_PROBLEMS_SHOWN
        more = [f"and {rest} more"] if rest > 0 else []
        raise Refused(400, "; ".join([*problems[:_MOST_PROBLEMS_SHOWN], *more])) from None


def _sentence(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "body"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
