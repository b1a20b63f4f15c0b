"""The engines behind a gateway: which expert each serves, whether it answers, and how much it has to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from clustering.errors import BadInput, arg
from xelm.gateway.patience import Patience

logger = logging.getLogger(__name__)
ALL = "*"
"""The name of an engine that serves every expert, such as one base with all adapters."""
_CHECK_S = 5.0
"""Seconds that a health check may take."""
_MOST_MISSED = 3
"""Checks without an answer in a row until an engine counts as down; one that is busy answers late. A refused connection
counts at once."""


@dataclass
class Engine:
    """One server of models, in the form of OpenAI's API.

    Attributes:
        name: The expert that it serves, or `*`.
        url: Its address, without `/v1`.
        model: The model's name there, if it was given; else what the engine's own list says.
        listed: Names of models that it lists.
        is_up: Whether it answered when it was last asked.
        in_flight: Requests that it is working on.
        missed: Checks in a row that it did not answer in time.
    """

    name: str
    url: str
    model: str | None = None
    listed: list[str] = field(default_factory=list)
    is_up: bool = True
    in_flight: int = 0
    missed: int = 0

    def model_for(self, expert: str) -> str:
        """The name by which the engine knows an expert."""
        if self.model is not None:
            return self.model
        return self.listed[0] if expert not in self.listed and len(self.listed) == 1 else expert


def read_engines(given: Iterable[str], experts: Sequence[str]) -> list[Engine]:
    """Engines from `NAME=URL` or `NAME=URL#MODEL`.

    Args:
        given: As on the command line. One name may have several engines, which share its requests.
        experts: The names that requests may go to.

    Raises:
        BadInput: If one cannot be read, or names no expert.
    """
    engines = []
    for text in given:
        name, equals, address = text.partition("=")
        url, _, model = address.partition("#")
        parts = urlsplit(url)
        if not equals or parts.scheme not in ("http", "https") or not parts.netloc:
            raise BadInput(f"{arg('engines', text)}: write NAME=URL, such as {experts[0]}=http://127.0.0.1:8001.")
        if name != ALL and name not in experts:
            known = ", ".join(experts)
            raise BadInput(f"{arg('engines', text)}: no expert {name!r}. Choose one of {known}, or * for all.")
        engines.append(Engine(name, url.rstrip("/").removesuffix("/v1"), model or None))
    if not engines:
        raise BadInput(f"{arg('engines')}: give at least one, as NAME=URL.")
    return engines


class Pool:
    """Chooses an engine for each request, and finds out which are up.

    Args:
        engines: See `read_engines`.
        every_s: Seconds between two health checks of an engine.
    """

    def __init__(self, engines: Sequence[Engine], *, every_s: float = Patience.check_s):
        self.engines = list(engines)
        self._every_s = every_s
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    def of(self, expert: str) -> list[Engine]:
        """The engines that serve an expert: those of its name, or else those for all."""
        own = [engine for engine in self.engines if engine.name == expert]
        return own or [engine for engine in self.engines if engine.name == ALL]

    def start(self, session: aiohttp.ClientSession) -> None:
        """Begin to check the engines."""
        self._tasks = [asyncio.create_task(self._watch(session, engine)) for engine in self.engines]

    async def stop(self) -> None:
        """End the checks."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def choose(self, expert: str, until_s: float) -> Engine | None:
        """The engine with the least to do that is up; waits for one until `until_s` (the loop's time), then None."""
        loop = asyncio.get_running_loop()
        while True:
            up = [engine for engine in self.of(expert) if engine.is_up]
            if up:
                return min(up, key=lambda engine: engine.in_flight)
            left_s = until_s - loop.time()
            if left_s <= 0:
                return None
            with suppress(TimeoutError):
                async with self._changed:
                    await asyncio.wait_for(self._changed.wait(), left_s)

    def down(self, engine: Engine, reason: str) -> None:
        """Send nothing more to an engine until it answers a check."""
        if engine.is_up:
            logger.warning("%s (%s) does not answer: %s", engine.url, engine.name, reason)
        engine.is_up = False

    async def _watch(self, session: aiohttp.ClientSession, engine: Engine) -> None:
        while True:
            try:
                reason, engine.missed = await self._ask(session, engine), 0
            except TimeoutError:
                engine.missed += 1
                reason = f"{engine.missed} checks without an answer"
            if reason is not None and (engine.missed == 0 or engine.missed >= _MOST_MISSED):
                self.down(engine, reason)
            elif reason is None and not engine.is_up:
                logger.warning("%s (%s) answers again", engine.url, engine.name)
                engine.is_up = True
                async with self._changed:
                    self._changed.notify_all()
            # One that is down is asked more often: requests wait for it.
            await asyncio.sleep(self._every_s if engine.is_up else min(self._every_s, 0.25))

    async def _ask(self, session: aiohttp.ClientSession, engine: Engine) -> str | None:
        """Why an engine does not answer; None if it does. Its list of models is read when it comes up.

        Raises:
            TimeoutError: If it does not answer in time.
        """
        timeout = aiohttp.ClientTimeout(total=_CHECK_S)
        try:
            async with session.get(f"{engine.url}/health", timeout=timeout) as response:
                await response.read()
                if response.status not in (200, 401, 403, 404, 405):
                    return f"status {response.status} of /health"
                no_health = response.status != 200
            if engine.is_up and engine.listed and not no_health:
                return None
            async with session.get(f"{engine.url}/v1/models", timeout=timeout) as response:
                if response.status == 200:
                    rows = (await response.json(content_type=None)).get("data") or []
                    engine.listed = [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]
                elif no_health and response.status not in (401, 403):
                    return f"status {response.status} of /v1/models"
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError, AttributeError) as error:
            return str(error) or type(error).__name__
        return None
