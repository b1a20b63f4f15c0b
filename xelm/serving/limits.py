"""Limits of a server, and the clients that may send requests."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clustering.errors import BadInput
from clustering.ranges import Count, Positive, check_ranges

if TYPE_CHECKING:
    from fastapi import Request


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server and of its requests."""

    max_batch: Count = 32
    """Most answers computed in one pass."""
    max_queued: Count = 1024
    """Most answers that wait; further requests get 503."""
    max_kept_bytes: Count = 1 << 30
    """Most memory, on the models' device, for the caches of answers that wait for their turn; those beyond it read
    their tokens again."""
    max_body_bytes: Count = 1 << 20
    """Largest request, in bytes of its JSON."""
    max_tokens: Count = 1024
    """Most tokens of an answer, even if the request asks for more."""
    timeout_s: Positive = 120.0
    """Seconds after which a request that is not answered gets 503, waiting included."""
    max_connections: Count = 512
    """Most connections at the same time."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class Access:
    """The clients that may send requests."""

    api_key: str | None = None
    """The key that clients of `/v1/…` must send as `Authorization: Bearer KEY`; None: no key is needed."""
    hosts: frozenset[str] | None = None
    """Names by which the server may be addressed, in small letters without port; None: any. A web page can make a
    browser send requests to a server on loopback, but not with loopback's own name in the Host header."""

    def __post_init__(self) -> None:
        if self.api_key is not None and (not self.api_key.isascii() or not self.api_key.strip()):
            raise BadInput("the API key must be ASCII text, and not empty.")

    def check(self, request: Request) -> None:
        """Refuse a request from a client that may not send it.

        Raises:
            Refused: With status 421 (another host) or 401 (no key, or a wrong one).
        """
        from xelm.serving.refused import Refused  # needs fastapi, which `xelm serve --help` does not

        host = host_name(request.headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            raise Refused(421, f"this server is not called {host!r}. Start it with --allowed-host NAME to allow that.")
        if self.api_key is None or not request.url.path.startswith("/v1/"):
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(key.strip().encode(), self.api_key.encode())
        if scheme.lower() != "bearer" or not known:
            raise Refused(401, "wrong or missing API key: send Authorization: Bearer KEY.", code="invalid_api_key")


def host_name(header: str) -> str:
    """The name in a Host header: without port, in small letters."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
