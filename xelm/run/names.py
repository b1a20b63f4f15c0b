"""Names of the models that every run has beside its experts."""

from __future__ import annotations

BASE, DENSE = "base", "dense"
