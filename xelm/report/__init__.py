"""`report.html` of a run: one self-contained page that says what was made, whether it helped, and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xelm.run.experts import ExpertSet

__all__ = ["write_report"]


def write_report(experts: ExpertSet) -> Path:
    """Write `report.html` of a run, whole, from what is in the run.

    The page loads nothing from anywhere and holds no date, clock time or path: written again from the same run it
    has the same bytes. The one thing made here is `eval/samples.json` (a short continuation in each language), kept
    until a model or a held-out text changes.

    Args:
        experts: A run. The page says which parts the run lacks (dense baseline, test text, curves, router, distances).

    Returns:
        The page's path.

    Raises:
        BadInput: If a file of the run is damaged.
    """
    from clustering.files import write_text
    from xelm.report.page import render

    path = experts.files.report
    write_text(path, render(experts))
    return path
