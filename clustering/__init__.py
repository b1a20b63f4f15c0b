"""Languages as points: codes, typology, overlap, clusters and source ranking. No torch here.

The names below are loaded on first use, so that `import clustering` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clustering.distances.matrix import Distances, DistancesFrom, distance_matrix, distances_from
    from clustering.distances.own import distances_from_vectors, load_distances
    from clustering.distances.uriel import coordinates, family_of, typology_code
    from clustering.errors import BadInput
    from clustering.languages.codes import Language, UnknownLanguageError, match, name_of, resolve, to_code
    from clustering.plans.documents import DocumentClusters
    from clustering.plans.effects import Effects
    from clustering.plans.make import SuggestedK, cluster_languages, suggest_k
    from clustering.plans.pairs import xelm_distances
    from clustering.plans.picture import plot_tree, tree_svg
    from clustering.plans.plan import ClusterPlan, Quality
    from clustering.sources.profile_cache import profile_file
    from clustering.sources.profiles import Profile, Tokenizer, profile_texts
    from clustering.sources.rank import rank_sources
    from clustering.sources.ranker import Ranker, fit_ranker
    from clustering.sources.report import SourceReport, SourceScore
    from clustering.sources.transfer_table import read_transfer_table

_MODULE_OF = {
    "BadInput": "errors",
    "ClusterPlan": "plans.plan",
    "Distances": "distances.matrix",
    "DistancesFrom": "distances.matrix",
    "DocumentClusters": "plans.documents",
    "Effects": "plans.effects",
    "Language": "languages.codes",
    "Profile": "sources.profiles",
    "Quality": "plans.plan",
    "Ranker": "sources.ranker",
    "SourceReport": "sources.report",
    "SourceScore": "sources.report",
    "SuggestedK": "plans.make",
    "Tokenizer": "sources.profiles",
    "UnknownLanguageError": "languages.codes",
    "cluster_languages": "plans.make",
    "coordinates": "distances.uriel",
    "distance_matrix": "distances.matrix",
    "distances_from": "distances.matrix",
    "distances_from_vectors": "distances.own",
    "family_of": "distances.uriel",
    "fit_ranker": "sources.ranker",
    "load_distances": "distances.own",
    "match": "languages.codes",
    "name_of": "languages.codes",
    "plot_tree": "plans.picture",
    "profile_file": "sources.profile_cache",
    "profile_texts": "sources.profiles",
    "rank_sources": "sources.rank",
    "read_transfer_table": "sources.transfer_table",
    "resolve": "languages.codes",
    "suggest_k": "plans.make",
    "to_code": "languages.codes",
    "tree_svg": "plans.picture",
    "typology_code": "distances.uriel",
    "xelm_distances": "plans.pairs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'clustering' has no attribute {name!r}")
    return getattr(import_module(f"clustering.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})


__all__ = [
    "BadInput",
    "ClusterPlan",
    "Distances",
    "DistancesFrom",
    "DocumentClusters",
    "Effects",
    "Language",
    "Profile",
    "Quality",
    "Ranker",
    "SourceReport",
    "SourceScore",
    "SuggestedK",
    "Tokenizer",
    "UnknownLanguageError",
    "cluster_languages",
    "coordinates",
    "distance_matrix",
    "distances_from",
    "distances_from_vectors",
    "family_of",
    "fit_ranker",
    "load_distances",
    "match",
    "name_of",
    "plot_tree",
    "profile_file",
    "profile_texts",
    "rank_sources",
    "read_transfer_table",
    "resolve",
    "suggest_k",
    "to_code",
    "tree_svg",
    "typology_code",
    "xelm_distances",
]
