"""The experts of a mixture, as scoring and generation take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from clustering.errors import BadInput


class ModelSource(Protocol):
    """A source of causal language models, such as an `ExpertPool`."""

    def get(self, name: str, /) -> Any:
        """The model of this expert, in memory."""
        ...

    def get_many(self, names: Sequence[str]) -> list[Any]:
        """The models of these experts, in memory together."""
        ...


@runtime_checkable
class MixedSource(Protocol):
    """A source whose model can answer for several experts in one batch, such as a `LoraSource`."""

    def for_rows(self, names: Sequence[str]) -> Any:
        """One model whose batches have one row for each name."""
        ...


@dataclass(frozen=True)
class MixedExperts:
    """The experts that answer texts together, each text under weights of its own.

    Attributes:
        names: The K names, in the order of the weights.
        models: Where their models are had by name; one is asked for only if it has work.
        dynamic: How far weights follow the text (`Policy.dynamic`): False, True, or a share.
    """

    names: Sequence[str]
    models: ModelSource
    dynamic: float = False

    def check(self, weights_BK: np.ndarray, num_rows: int) -> None:
        """Refuse weights of other texts or other experts.

        Raises:
            BadInput: If their shape is not (rows, K).
        """
        expected = (num_rows, len(self.names))
        if np.shape(weights_BK) != expected:
            raise BadInput(f"weights have shape {np.shape(weights_BK)}, expected {expected}.")
