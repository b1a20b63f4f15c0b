"""Languages as points: codes, typology, overlap, clusters and source ranking. No torch here.

The names below are loaded on first use, so that `import clustering` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clustering.lazy import lazy_names

if TYPE_CHECKING:
    from clustering.distances.distance import Distance, distance
    from clustering.distances.kinds import distance_matrix, distances_from
    from clustering.distances.matrix import Distances, DistancesFrom
    from clustering.distances.own import distances_from_vectors, load_distances
    from clustering.distances.uriel import coordinates, family_of, typology_code
    from clustering.distances.x_elm import xelm_distances
    from clustering.errors import BadInput
    from clustering.languages.codes import Language, UnknownLanguageError, match, name_of, resolve, to_code
    from clustering.plans.effects import Effects
    from clustering.plans.make import SuggestedK, cluster_languages, suggest_k
    from clustering.plans.methods import method
    from clustering.plans.picture import plot_tree, tree_svg
    from clustering.plans.plan import ClusterPlan
    from clustering.plans.quality import Quality
    from clustering.rankers.ranker import Ranker, fit_ranker
    from clustering.rankers.transfer_table import read_transfer_table
    from clustering.sources.profile_cache import profile_file
    from clustering.sources.profiles import Profile, Tokenizer, profile_texts
    from clustering.sources.rank import rank_sources
    from clustering.sources.report import SourceReport, SourceScore

_MODULE_OF = {
    "BadInput": "errors",
    "ClusterPlan": "plans.plan",
    "Distances": "distances.matrix",
    "Distance": "distances.distance",
    "DistancesFrom": "distances.matrix",
    "Effects": "plans.effects",
    "Language": "languages.codes",
    "Profile": "sources.profiles",
    "Quality": "plans.quality",
    "Ranker": "rankers.ranker",
    "SourceReport": "sources.report",
    "SourceScore": "sources.report",
    "SuggestedK": "plans.make",
    "Tokenizer": "sources.profiles",
    "UnknownLanguageError": "languages.codes",
    "cluster_languages": "plans.make",
    "coordinates": "distances.uriel",
    "distance": "distances.distance",
    "distance_matrix": "distances.kinds",
    "distances_from": "distances.kinds",
    "distances_from_vectors": "distances.own",
    "family_of": "distances.uriel",
    "fit_ranker": "rankers.ranker",
    "load_distances": "distances.own",
    "match": "languages.codes",
    "method": "plans.methods",
    "name_of": "languages.codes",
    "plot_tree": "plans.picture",
    "profile_file": "sources.profile_cache",
    "profile_texts": "sources.profiles",
    "rank_sources": "sources.rank",
    "read_transfer_table": "rankers.transfer_table",
    "resolve": "languages.codes",
    "suggest_k": "plans.make",
    "to_code": "languages.codes",
    "tree_svg": "plans.picture",
    "typology_code": "distances.uriel",
    "xelm_distances": "distances.x_elm",
}


__all__ = [
    "BadInput",
    "ClusterPlan",
    "Distance",
    "Distances",
    "DistancesFrom",
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
    "distance",
    "distance_matrix",
    "distances_from",
    "distances_from_vectors",
    "family_of",
    "fit_ranker",
    "load_distances",
    "match",
    "method",
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
__getattr__, __dir__ = lazy_names(__name__, {name: f"clustering.{module}" for name, module in _MODULE_OF.items()})
