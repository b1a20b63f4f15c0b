"""The X-ELM authors' typological distance, kept exact for reproduction.

Blevins et al. 2024, "Breaking the Curse of Multilinguality with Cross-lingual Expert Language Models"
(https://arxiv.org/abs/2401.10440) and their code. `clustering.distances.uriel_kinds` has the consistent distances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clustering.distances import uriel as typology
from clustering.distances.distance import Distance, Measured, Missing, distance
from clustering.distances.kinds import distance_matrix
from clustering.distances.matrix import CoveredCode, Distances

NAME = "x-elm"


@distance(NAME)
class XelmDistance(Distance):
    """1 - sum over features both know of u·v / (|u| |v|), each norm over the language's own known features.

    On the averages of URIEL's sources on syntax; columns constant over the set of languages are dropped, so that values
    depend on the other languages. Languages that agree on all they share can be far apart when one knows fewer
    features. Coverage counts the syntactic features both know.
    """

    about = "of the X-ELM authors, for method pairs"

    def measure(
        self, languages: tuple[str, ...], *, missing: Missing = "knn", generator: np.random.Generator | None = None
    ) -> Measured:
        """Distances and coverage, shape (L, L). `missing` does not matter: unknown features are left out."""
        table, row_of = typology.features(), typology.row_of()
        rows = np.array([row_of[typology.typology_code(code, "syntactic").uriel_code] for code in languages])
        columns = table.columns("syntactic")
        averages_LF = table.averages[
            np.ix_(rows, columns if generator is None else generator.choice(columns, len(columns)))
        ]
        known_LF = (averages_LF >= 0).astype(np.int32)
        varied = (averages_LF != averages_LF[:1]).any(axis=0)  # unknown (-1) is a value here, as in their code
        values_LF = averages_LF[:, varied].clip(min=0.0)
        norms = np.linalg.norm(values_LF, axis=1)
        scale = np.outer(norms, norms)
        products = values_LF @ values_LF.T
        values = 1.0 - np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
        return values, known_LF @ known_LF.T

    def coverage(self, languages: tuple[str, ...]) -> dict[str, CoveredCode]:
        """For each language, the row of URIEL that is read and how many of its features are known."""
        return {code: typology.typology_code(code, "syntactic") for code in languages}


def xelm_distances(languages: Sequence[str]) -> Distances:
    """The authors' distances between languages given by any codes or names, in that order.

    Raises:
        BadInput: If a language is unknown, given twice or absent from URIEL.
    """
    return distance_matrix(languages, NAME)
