"""xelm: expert language models for groups of related languages, trained apart and routed together.

The public API, loaded on first use so that `import xelm` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clustering import ClusterPlan, cluster_languages
    from clustering.errors import BadInput
    from clustering.languages.codes import language
    from router.routes.policy import Policy
    from router.routes.weigh import Route, RoutingRule
    from router.scoring.texts import Score
    from router.scoring.tokens import ScoringOptions
    from xelm.adding.add import add_language, remove_language
    from xelm.inference.routed import RoutedLM
    from xelm.making.train import train
    from xelm.models.profile_tokenizers import rank_sources
    from xelm.recipe.recipe import Recipe
    from xelm.run.experts import ExpertSet

__version__ = "0.1.0"
__all__ = [
    "BadInput",
    "ClusterPlan",
    "ExpertSet",
    "Policy",
    "Recipe",
    "Route",
    "RoutedLM",
    "RoutingRule",
    "Score",
    "ScoringOptions",
    "add_language",
    "cluster_languages",
    "language",
    "rank_sources",
    "remove_language",
    "train",
]

_HOME = {
    "BadInput": "clustering.errors",
    "ClusterPlan": "clustering",
    "ExpertSet": "xelm.run.experts",
    "Policy": "router.routes.policy",
    "Recipe": "xelm.recipe.recipe",
    "Route": "router.routes.weigh",
    "RoutedLM": "xelm.inference.routed",
    "RoutingRule": "router.routes.weigh",
    "Score": "router.scoring.texts",
    "ScoringOptions": "router.scoring.tokens",
    "add_language": "xelm.adding.add",
    "remove_language": "xelm.adding.add",
    "cluster_languages": "clustering",
    "language": "clustering.languages.codes",
    "rank_sources": "xelm.models.profile_tokenizers",
    "train": "xelm.making.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'xelm' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
