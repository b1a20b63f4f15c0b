"""`Step`: a change of vectors that is learnt without labels, before a frozen head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xelm.transferring.features.encoder import Matrix

if TYPE_CHECKING:
    from xelm.transferring.data.examples import Example
    from xelm.transferring.features.store import FeatureStore


@dataclass(frozen=True)
class Step(ABC):
    """A change of vectors; its fields are all that decides it."""

    @abstractmethod
    def apply(self, vectors: Matrix, rows: Sequence[Example], store: FeatureStore) -> Matrix:
        """Changed vectors.

        Args:
            vectors: Shape (things, dimensions), the things that the rows label in order.
            rows: The rows.
            store: Vectors of the languages' unlabelled training text.
        """


@dataclass(frozen=True)
class Centre(Step):
    """Take the mean of each language away: what all texts of a language share says nothing of the task.

    The mean is that of the language's training text; where there is none, of the texts themselves.
    """

    def apply(self, vectors: Matrix, rows: Sequence[Example], store: FeatureStore) -> Matrix:
        dense = vectors if isinstance(vectors, np.ndarray) else vectors.toarray()
        changed = np.array(dense, dtype=np.float32)
        language_of = np.array([row.language for row in rows for _ in range(row.num_units)])
        for code in sorted(set(language_of.tolist())):
            mine = language_of == code
            known = store.language(code)
            changed[mine] -= (known if len(known) else changed[mine]).mean(axis=0)
        return changed
