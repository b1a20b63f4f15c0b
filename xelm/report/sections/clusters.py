"""The plan: which languages share an expert, how similar they are, and how much is known about them."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from clustering import ClusterPlan, family_of, tree_svg
from clustering.errors import BadInput
from xelm.report.facts import Facts
from xelm.vocabulary.own import read_vocabulary

_FIGURES = (
    ("silhouette", "Silhouette", "−1 to 1: how much nearer languages are to their own cluster than to the next."),
    ("balance", "Balance", "0 to 1: the mean load of a cluster over the largest; 1 when all are equal."),
    ("family_purity", "Family purity", "Share of languages that belong to the commonest family of their cluster."),
    ("stability", "Stability", "Agreement with the clusters that resampled features give; 1 is full."),
)


def clusters(facts: Facts) -> dict[str, Any]:
    """Clusters with their languages, figures of quality, and the tree.

    Returns:
        `method`, `distance`, `cards`, `figures`, `tree` (SVG or None).
    """
    plan = facts.experts.plan
    return {
        "method": plan.method,
        "distance": plan.distances.kind if plan.distances else None,
        "cards": [_card(facts, name) for name in plan.clusters],
        "figures": [
            {"title": title, "value": f"{value:.2f}", "meaning": meaning}
            for key, title, meaning in _FIGURES
            if (value := getattr(plan.quality, key)) is not None
        ],
        "tree": _tree(plan),
    }


def _card(facts: Facts, name: str) -> dict[str, Any]:
    codes = facts.experts.plan.clusters[name]
    return {
        "name": name,
        "colour": facts.colours[name],
        "families": sorted({lineage[0] for code in codes if (lineage := family_of(code))}),
        "languages": [{"language": facts.languages[code], **_coverage(facts, code)} for code in codes],
        "own_pieces": _own_pieces(facts, name),
    }


def _own_pieces(facts: Facts, name: str) -> str | None:
    """The number of an expert's own pieces, and what they changed; None if it has none."""
    experts = facts.experts
    if experts.vocabulary(name) is None or (record := read_vocabulary(experts.folder(name))) is None:
        return None
    before = record.tokens_a_word["0"]
    return f"{record.new_pieces:,} pieces of its own: {before:.2f} tokens a word before, {record.rate:.2f} with them"


def _coverage(facts: Facts, code: str) -> dict[str, Any]:
    covered = facts.experts.plan.coverage.get(code)
    if covered is None or not covered.num_total:
        return {"known": None, "total": None, "read_as": None, "share": None}
    read_as = covered.uriel_code if covered.uriel_code != code else None
    share = f"{100 * covered.num_known / covered.num_total:.0f}"
    return {"known": covered.num_known, "total": covered.num_total, "read_as": read_as, "share": share}


def _tree(plan: ClusterPlan) -> Markup | None:
    try:
        svg = tree_svg(plan)
    except BadInput:  # a plan without distances has no tree
        return None
    # A page does not need what a picture file needs: metadata with addresses, namespaces, a style for every element.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    title = "Tree of the languages: the further left two branches join, the less similar they are"
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1))
