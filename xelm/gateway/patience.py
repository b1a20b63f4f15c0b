"""How long a gateway waits for its engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from clustering.ranges import Positive, check_ranges


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a request is tried, and how often engines are asked whether they answer."""

    wait_s: Annotated[float, Interval(ge=0)] = 60.0
    """Seconds in which an engine must take a request; until then it is sent again, for as long as no engine of the
    expert answers or all are busy."""
    timeout_s: Positive = 300.0
    """Longest silence, in seconds, of an engine that has taken a request."""
    check_s: Positive = 2.0
    """Seconds between two health checks of an engine."""

    def __post_init__(self) -> None:
        check_ranges(self)
