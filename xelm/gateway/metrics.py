"""Counts and times of a gateway, in Prometheus' text form."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from xelm.gateway.engines import Engine, Pool

_BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, float("inf"))


def _is_up(engine: Engine) -> float:
    return float(engine.is_up)


def _in_flight(engine: Engine) -> float:
    return float(engine.in_flight)


class GatewayMetrics:
    """The figures of one gateway, in a registry of its own.

    Args:
        pool: The engines, whose state is reported.
    """

    def __init__(self, pool: Pool):
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "xelm_gateway_requests", "Answers to clients by expert and status.", ["expert", "status"], registry=registry
        )
        self._own = Histogram(
            "xelm_gateway_own_seconds", "Reading and routing a request.", buckets=_BUCKETS_S, registry=registry
        )
        self._retries = Counter(
            "xelm_gateway_retries", "Requests sent again, by engine that failed.", ["engine"], registry=registry
        )
        self._broken = Counter(
            "xelm_gateway_broken_streams", "Streams that an engine broke off.", ["engine"], registry=registry
        )
        up = Gauge("xelm_gateway_engine_up", "1 if the engine answers.", ["expert", "engine"], registry=registry)
        busy = Gauge("xelm_gateway_in_flight", "Requests at the engine.", ["expert", "engine"], registry=registry)
        for engine in pool.engines:
            up.labels(engine.name, engine.url).set_function(partial(_is_up, engine))
            busy.labels(engine.name, engine.url).set_function(partial(_in_flight, engine))

    def request(self, expert: str, status: int) -> None:
        """Count an answer."""
        self._requests.labels(expert, str(status)).inc()

    def routed(self, seconds: float) -> None:
        """Count the time that reading and routing a request took."""
        self._own.observe(seconds)

    def retry(self, engine: Engine) -> None:
        """Count a request that is sent again."""
        self._retries.labels(engine.url).inc()

    def broken(self, engine: Engine) -> None:
        """Count a stream that ended before its end."""
        self._broken.labels(engine.url).inc()

    def text(self) -> bytes:
        """All figures in Prometheus' text form."""
        return generate_latest(self._registry)
