"""`report.html` of a run: one self-contained page."""

from __future__ import annotations

from pathlib import Path

from xelm.experts import ExpertSet


def write_report(experts: ExpertSet) -> Path:
    return experts.path / "report.html"
