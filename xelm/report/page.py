"""The whole page: the values of every section, put into the templates beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xelm.report.environment import page_environment
from xelm.report.facts import Facts

if TYPE_CHECKING:
    from xelm.run.experts import ExpertSet


def render(experts: ExpertSet) -> str:
    """The report of a run as HTML.

    Raises:
        BadInput: If a file of the run is damaged.
    """
    return page_environment().get_template("page.html").render(**_values(experts))


def _values(experts: ExpertSet) -> dict[str, Any]:
    from xelm.report.sections.added import additions
    from xelm.report.sections.budget import budget
    from xelm.report.sections.clusters import clusters
    from xelm.report.sections.curves import curves
    from xelm.report.sections.effects import effects, evidence
    from xelm.report.sections.forgetting import forgetting
    from xelm.report.sections.headline import headline
    from xelm.report.sections.heatmap import heat_map
    from xelm.report.sections.making import making
    from xelm.report.sections.routing import router_of, routing
    from xelm.report.sections.samples import samples
    from xelm.report.sections.tokens import tokens

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
        "tokens": tokens(facts),
        "additions": additions(facts),
        "making": making(experts.manifest),
    }
