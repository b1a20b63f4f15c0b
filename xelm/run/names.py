"""Names of the models that a run has beside its experts."""

from __future__ import annotations

BASE, DENSE = "base", "dense"


def is_base(name: str | None) -> bool:
    """Whether a model of a run is the base."""
    return name == BASE


def is_dense(name: str | None) -> bool:
    """Whether a model of a run is the dense baseline."""
    return name == DENSE


def is_expert(name: str) -> bool:
    """Whether a model of a run is an expert: neither the base nor the dense baseline."""
    return name not in (BASE, DENSE)
