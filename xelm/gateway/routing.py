"""From a request to the experts that answer it; requests that come together are routed together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router.routes.policy import policy_names
from xelm.gateway.asked import ROUTED, Asked, RefusedError

if TYPE_CHECKING:
    from router.routes.weigh import Route
    from xelm.inference.routed import RoutedLM

# A longer text would keep the other requests waiting while it is read.
_LONG = 20_000


@dataclass(frozen=True)
class Sent:
    """Where one prompt goes.

    Attributes:
        expert: The expert of most weight, or the one that the request named.
        route: What the router says of the prompt.
    """

    expert: str
    route: Route

    def to_dict(self) -> dict[str, Any]:
        """For the header of an answer."""
        confidence = round(self.route.confidence, 4)
        return {"expert": self.expert, "language": self.route.language, "confidence": confidence}


def header_of(sent: Sequence[Sent]) -> str:
    """The value of `x-xelm-route`: a JSON object, or a list of them where there are several prompts."""
    rows = [one.to_dict() for one in sent]
    return json.dumps(rows[0] if len(rows) == 1 else rows)


class Dispatcher:
    """Routes requests with a run's router, which loads no model.

    Args:
        lm: The run.
    """

    def __init__(self, lm: RoutedLM):
        self.lm = lm
        self._waiting: list[tuple[list[str], asyncio.Future[list[Route]]]] = []

    async def send(self, asked: Asked) -> list[Sent]:
        """Where each prompt of a request goes.

        Raises:
            RefusedError: If the model that it names is unknown, or a mixture.
        """
        model = asked.body.get("model")
        named = self._named(model)
        routes = await self._routes(asked.texts)
        return [Sent(named or max(route.weights, key=lambda n: (route.weights[n], n)), route) for route in routes]

    def _named(self, model: Any) -> str | None:
        """The expert that a request names; None if the router is to choose."""
        if model is None or model in ROUTED:
            return None
        if model in self.lm.names:
            return str(model)
        if isinstance(model, str) and model.partition(":")[0] in policy_names():
            raise RefusedError(
                400,
                f"model={model!r}: a mixture needs the experts in one process. Ask `xelm serve`, which has them, or "
                "take top1, which sends each text to one expert.",
            )
        known = ", ".join([ROUTED[0], *self.lm.names])
        raise RefusedError(404, f"model={model!r} is unknown. Choose one of {known}.", "model_not_found")

    async def _routes(self, texts: list[str]) -> list[Route]:
        if sum(map(len, texts)) > _LONG:
            return await asyncio.to_thread(self.lm.route, texts)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Route]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((texts, answer))
        return await answer

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            routes = self.lm.route([text for texts, _ in waiting for text in texts])
        except Exception as error:  # each of those who wait is told
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
            return
        for texts, answer in waiting:
            own, routes = routes[: len(texts)], routes[len(texts) :]
            if not answer.done():
                answer.set_result(own)
