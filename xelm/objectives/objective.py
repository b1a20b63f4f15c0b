"""`Objective`: what models are trained to do, as one object with everything that hangs on its name.

Shape letters: B blocks, T tokens of a block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from clustering.registry import Registry
from xelm.training.isolation import isolates_documents

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from xelm.recipe.recipe import Train

IGNORED = -100
"""The label of a place whose output is not judged."""


class Batch(Protocol):
    """Blocks as a model reads them, and what it should say."""

    @property
    def num_targets(self) -> int:
        """Places that are judged."""
        ...

    def summed_loss(self, model: torch.nn.Module, *, isolated: bool, device: torch.device) -> torch.Tensor:
        """The loss over all targets, in nats, to be differentiated.

        Args:
            model: In training or evaluation mode.
            isolated: Whether the model keeps the documents of a block apart by their positions.
            device: Where the model is.
        """
        ...


class Batches(ABC):
    """Makes the batches of one training."""

    @abstractmethod
    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> Batch:
        """Inputs and labels.

        Args:
            ids_BT: Tokens.
            positions_BT: Places in their documents.
            draws_B: Which draws of the training the blocks are; what is random hangs on them, not on when it is asked.
            done: Share of the training that is over, in [0, 1).
        """

    def isolates(self, model: PreTrainedModel) -> bool:
        """Whether the model keeps packed documents apart by their positions."""
        return isolates_documents(model)


class Objective(ABC):
    """What models are trained to do. `@objective` registers a subclass; entry points: group `xelm.objectives`."""

    name: ClassVar[str]
    """What `[train] objective` calls it."""
    generates: ClassVar[bool]
    """Whether its models answer a prompt, so that a run can generate and score."""
    follows_text: ClassVar[bool]
    """Whether a token is predicted from those before it alone, so that the weights of a mixture can follow the text."""
    fits_new_base: ClassVar[bool]
    """Whether the models of `[base.new]` have its head."""

    @abstractmethod
    def auto_class(self) -> Any:
        """The class of transformers that loads models with its head."""

    @abstractmethod
    def batches(self, tokenizer: PreTrainedTokenizerBase, settings: Train, name: str) -> Batches:
        """The batches of one training.

        Args:
            tokenizer: The models'.
            settings: `[train]`.
            name: Of the training; what is random differs between trainings of different names.

        Raises:
            BadInput: If the tokenizer lacks what it needs.
        """

    @abstractmethod
    def log_probs(
        self, model: PreTrainedModel, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, context: int | None
    ) -> list[np.ndarray]:
        """How probable a model finds each text, token by token.

        Args:
            model: In evaluation mode.
            texts: Longer ones than the context are read in pieces.
            tokenizer: The model's.
            context: Most tokens the base takes; None: no limit known.

        Returns:
            For each text, shape (its judged tokens,), nats.
        """

    def __str__(self) -> str:
        return self.name


OBJECTIVES: Registry[Objective] = Registry("objective", package="xelm.objectives", group="xelm.objectives")


def objective(cls: type[Objective]) -> type[Objective]:
    """Register an objective under its name."""
    OBJECTIVES.register(cls.name, cls())
    return cls
