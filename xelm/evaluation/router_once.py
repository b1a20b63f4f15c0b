"""A router that reads the same texts once, however many policies ask where they go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from router.routes.weigh import Route
from xelm.inference.run_router import RunRouter
from xelm.run.experts import ExpertSet


class RouterOnce(RunRouter):
    """The run's router, which remembers the routes of each list of texts: what it says is the same to the bit."""

    def __init__(self, experts: ExpertSet, **options: Any):
        self._known: dict[tuple[str, ...], list[Route]] = {}
        super().__init__(experts, **options)

    def routes(self, texts: Sequence[str]) -> list[Route]:
        """Where each text goes, and why."""
        key = tuple(texts)
        if key not in self._known:
            self._known[key] = super().routes(texts)
        return list(self._known[key])
