"""The whole page: the values of every section, put into the templates beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xelm.report import text
from xelm.report.facts import Facts

if TYPE_CHECKING:
    from jinja2 import Environment

    from xelm.run.experts import ExpertSet


def render(experts: ExpertSet) -> str:
    """The report of a run as HTML.

    Raises:
        BadInput: If a file of the run is damaged.
    """
    return _environment().get_template("page.html").render(**_values(experts))


def _values(experts: ExpertSet) -> dict[str, Any]:
    from xelm.report.added import additions
    from xelm.report.budget import budget
    from xelm.report.clusters import clusters
    from xelm.report.curves import curves
    from xelm.report.effects import effects, evidence
    from xelm.report.forgetting import forgetting
    from xelm.report.headline import headline
    from xelm.report.heatmap import heat_map
    from xelm.report.making import making
    from xelm.report.routing import router_of, routing
    from xelm.report.samples import samples

    facts = Facts.of(experts)
    lm = router_of(experts)
    return {
        "facts": facts,
        "headline": headline(facts),
        "clusters": clusters(facts),
        "evidence": evidence(facts),
        "effects": effects(facts),
        "budget": budget(facts),
        "curves": curves(facts),
        "heat": heat_map(facts),
        "forgetting": forgetting(facts),
        "routing": routing(facts, lm),
        "samples": samples(facts, lm),
        "additions": additions(facts),
        "making": making(experts.manifest),
    }


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("xelm", "report"),
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
