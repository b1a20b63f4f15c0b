"""`Objective`: what models are trained to do, as one object with everything that depends on its name.

Shape letters: B blocks, T tokens of a block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from clustering.errors import BadInput
from clustering.registry import Registry
from xelm.objectives.prompting import Prompting
from xelm.training.isolation import isolates_documents

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from xelm.objectives.cloze import Cloze
    from xelm.recipe.recipe import Train

IGNORED = -100
"""The label of a position whose output is not judged."""


def sent(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on a device. A GPU is not waited for: from pinned memory it copies while it computes."""
    import torch

    return torch.from_numpy(array).to(device, non_blocking=device.type == "cuda")


class Batch(Protocol):
    """Blocks in the form that a model reads, and the labels of its output."""

    @property
    def num_targets(self) -> int:
        """Number of positions that are judged."""
        ...

    def summed_loss(self, model: torch.nn.Module, *, isolated: bool, device: torch.device) -> torch.Tensor:
        """The loss over all targets, in nats, to be differentiated.

        If its `Batches.takes_head` is true, it also takes `head`: the model's `xelm.objectives.head.Head`, or None.

        Args:
            model: The model, in training or evaluation mode.
            isolated: Whether the model keeps the documents of a block apart by their positions.
            device: Device of the model.
        """
        ...


class Batches(ABC):
    """Makes the batches of one training."""

    takes_head: ClassVar[bool] = False
    """Whether the loss of its batches can be computed by a `Head`, without logits."""

    @property
    def steady(self) -> bool:
        """Whether its batches depend on the draws alone, not on how much of the training is over."""
        return False

    @property
    def adds(self) -> Collection[int]:
        """Tokens that it puts beside those of the text, such as a mask."""
        return ()

    @abstractmethod
    def batch(self, ids_BT: np.ndarray, positions_BT: np.ndarray, draws_B: np.ndarray, done: float) -> Batch:
        """Inputs and labels.

        Args:
            ids_BT: Tokens.
            positions_BT: Positions of the tokens in their documents.
            draws_B: Numbers of the training's draws that gave the blocks; random choices depend on them alone.
            done: Share of the training that is over, in [0, 1).
        """

    def isolates(self, model: PreTrainedModel) -> bool:
        """Whether the model keeps packed documents apart by their positions."""
        return isolates_documents(model)


class Objective(ABC):
    """What models are trained to do. `@objective` registers a subclass; entry points: group `xelm.objectives`."""

    name: ClassVar[str]
    """Its name in `[train] objective`."""
    generates: ClassVar[bool]
    """Whether its models answer a prompt, so that a run can generate and score."""
    follows_text: ClassVar[bool]
    """Whether a token is predicted from those before it alone, so that the weights of a mixture can follow the text."""
    fits_new_base: ClassVar[bool]
    """Whether the models of `[base.new]` have its head."""
    reads_pairs: ClassVar[bool] = False
    """Whether it trains on the translations of `[data] pairs`."""

    @abstractmethod
    def auto_class(self) -> Any:
        """The class of transformers that loads models with its head."""

    @abstractmethod
    def batches(self, tokenizer: PreTrainedTokenizerBase, settings: Train, name: str) -> Batches:
        """The batches of one training.

        Args:
            tokenizer: The models' tokenizer.
            settings: The `[train]` section of the recipe.
            name: Name of the training; random choices differ between trainings of different names.

        Raises:
            BadInput: If the tokenizer lacks a token that the objective needs.
        """

    @abstractmethod
    def log_probs(
        self, model: PreTrainedModel, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, context: int | None
    ) -> list[np.ndarray]:
        """How probable a model finds each text, token by token.

        Args:
            model: The model, in evaluation mode.
            texts: Texts; those longer than the context are read in pieces.
            tokenizer: The model's tokenizer.
            context: Largest number of tokens that the base reads; None: no known limit.

        Returns:
            For each text, log-probabilities in nats, shape (its judged tokens,).
        """

    def cloze_log_probs(
        self, model: PreTrainedModel, clozes: Sequence[Cloze], tokenizer: PreTrainedTokenizerBase
    ) -> np.ndarray:
        """How probable the answer of each text is in its place, for cloze templates, in nats, shape (texts,).

        Raises:
            BadInput: If the objective has no such score.
        """
        raise BadInput(f'objective = "{self}" has no score of answers in a text, which cloze templates need.')

    def prompting(self, tokenizer: PreTrainedTokenizerBase) -> Prompting:
        """How its models read prompts and say answers; for objectives whose models generate."""
        return Prompting(tokenizer)

    def __str__(self) -> str:
        return self.name


OBJECTIVES: Registry[Objective] = Registry("objective", package="xelm.objectives", group="xelm.objectives")


def objective(cls: type[Objective]) -> type[Objective]:
    """Register an objective under its name."""
    OBJECTIVES.register(cls.name, cls())
    return cls
