"""Counts and times of a server, in Prometheus' text form."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from xelm.serving.engine.engine import Engine
from xelm.serving.engine.jobs import Answer

_PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/route", "/v1/models", "/health", "/metrics")
_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, float("inf"))


class _Read(Collector):
    """Tokens that models have read, which the engine counts."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "xelm_read_tokens", "Tokens read (first, again), or not (shared).", labels=["time"]
        )
        found = self._engine.num_read
        for time_ in ("first", "again", "shared"):
            family.add_metric([time_], found.get(time_, 0))
        yield family


class Metrics:
    """The figures of one server, in a registry of its own.

    Args:
        engine: The engine whose queue is reported.
    """

    def __init__(self, engine: Engine):
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("xelm_requests", "Requests by path and status.", ["path", "status"], registry=registry)
        self._seconds = Histogram(
            "xelm_request_seconds", "From arrival to the last byte.", ["path"], buckets=_BUCKETS_S, registry=registry
        )
        self._tokens = Counter("xelm_tokens", "Tokens read and written.", ["kind"], registry=registry)
        self._answers = Counter(
            "xelm_answers", "Answers by the model of most weight.", ["model", "language"], registry=registry
        )
        waiting = Gauge("xelm_waiting_answers", "Answers in the queue.", registry=registry)
        waiting.set_function(lambda: engine.num_waiting)
        kept = Gauge("xelm_kept_bytes", "Caches of answers that wait for their turn.", registry=registry)
        kept.set_function(lambda: engine.num_kept_bytes)
        shared = Gauge("xelm_shared_bytes", "Caches that prompts which begin alike go on from.", registry=registry)
        shared.set_function(lambda: engine.num_shared_bytes)
        registry.register(_Read(engine))

    def request(self, path: str, status: int, started_s: float) -> None:
        """Count a request that has been answered; `started_s` is a time of `time.monotonic`."""
        known = next((name for name in _PATHS if path == name or path.startswith(f"{name}/")), "other")
        self._requests.labels(known, str(status)).inc()
        self._seconds.labels(known).observe(time.monotonic() - started_s)

    def answers(self, answers: Sequence[Answer]) -> None:
        """Count the answers of a request, and their tokens."""
        prompts = {id(answer.prompt): answer.prompt for answer in answers}
        self._tokens.labels("prompt").inc(sum(len(prompt.ids) for prompt in prompts.values()))
        self._tokens.labels("answer").inc(sum(len(answer.tokens) for answer in answers))
        for route in (answer.route for answer in answers if answer.route):
            best = max(route.weights, key=lambda name: route.weights[name])
            self._answers.labels(best, route.language or "none").inc()

    def text(self) -> bytes:
        """All figures in Prometheus' text form."""
        return generate_latest(self._registry)
