"""Templates of pages, and the words that all of them write figures in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xelm.report import text

if TYPE_CHECKING:
    from jinja2 import Environment


def page_environment(*folders: str) -> Environment:
    """Where a page's templates are looked for: folders of the package, then those of the run's report."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("xelm", folder) for folder in (*folders, "report/templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        clean=text.clean, count=text.count, compact=text.compact, signed=text.signed, listed=text.listed
    )
    return environment
