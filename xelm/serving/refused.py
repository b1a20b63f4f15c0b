"""Requests that get an error as their answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from clustering.errors import BadInput
from xelm.serving.engine.words import in_request
from xelm.serving.envelope import error_body

# No client reads this status; other servers log it in the same case.
CLIENT_LEFT = 499


class Refused(Exception):
    """A request that gets an error as its answer."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None):
        super().__init__(message)
        self.status, self.kind, self.code = status, kind, code

    def response(self) -> JSONResponse:
        """The error as HTTP."""
        headers = {"Retry-After": "1"} if self.status == 503 else None
        if self.status == 401:
            headers = {"WWW-Authenticate": "Bearer"}
        return JSONResponse(error_body(str(self), self.kind, self.code), self.status, headers=headers)


def refusal(error: BadInput, status: int, code: str | None = None) -> Refused:
    """An error of the library, with arguments named as in requests."""
    return Refused(status, error.spelled(in_request), code=code)


def handle_errors(app: FastAPI) -> None:
    """Give every error the form that OpenAI's clients read."""

    def refused(_request: Request, error: Any) -> JSONResponse:
        response: JSONResponse = error.response()
        return response

    def http(_request: Request, error: Any) -> JSONResponse:
        return JSONResponse(error_body(str(error.detail)), error.status_code, headers=error.headers)

    def failed(_request: Request, _error: Any) -> JSONResponse:
        return JSONResponse(error_body("internal error; the server's log says why.", "server_error"), 500)

    handlers: dict[Any, Callable[[Request, Any], JSONResponse]] = {
        Refused: refused,
        HTTPException: http,
        Exception: failed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
