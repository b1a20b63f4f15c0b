"""Languages as points: codes, typology, overlap, clusters and source ranking. No torch here.

The names below are loaded on first use, so that `import clustering` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clustering.cluster import SuggestedK, cluster_languages, suggest_k
    from clustering.codes import Language, UnknownLanguageError, match, name_of, resolve, to_code
    from clustering.distances import Distances, DistancesFrom, distance_matrix, distances_from
    from clustering.documents import DocumentClusters
    from clustering.errors import BadInput
    from clustering.own_distances import distances_from_vectors, load_distances
    from clustering.pairs import xelm_distances
    from clustering.plan import ClusterPlan, Quality
    from clustering.profile_cache import profile_file
    from clustering.profiles import Profile, Tokenizer, profile_texts
    from clustering.ranker import Ranker, fit_ranker
    from clustering.source_report import SourceReport, SourceScore
    from clustering.sources import rank_sources
    from clustering.transfer_table import read_transfer_table
    from clustering.tree import plot_tree, tree_svg
    from clustering.typology import coordinates, family_of, typology_code

_MODULE_OF = {
    "BadInput": "errors",
    "ClusterPlan": "plan",
    "Distances": "distances",
    "DistancesFrom": "distances",
    "DocumentClusters": "documents",
    "Language": "codes",
    "Profile": "profiles",
    "Quality": "plan",
    "Ranker": "ranker",
    "SourceReport": "source_report",
    "SourceScore": "source_report",
    "SuggestedK": "cluster",
    "Tokenizer": "profiles",
    "UnknownLanguageError": "codes",
    "cluster_languages": "cluster",
    "coordinates": "typology",
    "distance_matrix": "distances",
    "distances_from": "distances",
    "distances_from_vectors": "own_distances",
    "family_of": "typology",
    "fit_ranker": "ranker",
    "load_distances": "own_distances",
    "match": "codes",
    "name_of": "codes",
    "plot_tree": "tree",
    "profile_file": "profile_cache",
    "profile_texts": "profiles",
    "rank_sources": "sources",
    "read_transfer_table": "transfer_table",
    "resolve": "codes",
    "suggest_k": "cluster",
    "to_code": "codes",
    "tree_svg": "tree",
    "typology_code": "typology",
    "xelm_distances": "pairs",
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
