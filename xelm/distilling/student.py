"""What a student is at first: a model of the run, or another that reads the same pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clustering.errors import BadInput
from xelm.models import base as base_models
from xelm.recipe.recipe import Base
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE

SAME = "same"


@dataclass(frozen=True)
class Student:
    """What a student is at first."""

    name: str
    experts: ExpertSet
    is_ours: bool
    """Whether it is a model of the run."""

    @classmethod
    def of(cls, experts: ExpertSet, to: str) -> Student:
        """Find it.

        Raises:
            BadInput: If it reads other pieces than the run.
        """
        name = BASE if to == SAME else to
        if name in experts.models:
            return cls(name, experts, True)
        _refuse_other_pieces(experts, name)
        return cls(name, experts, False)

    def load(self) -> Any:
        """The model, with all weights to train."""
        if not self.is_ours:
            return base_models.load_model(self.name, self.experts.objective)
        model: Any = self.experts.load_model(self.name, trainable=True)
        model = model.merge_and_unload() if hasattr(model, "get_base_model") else model
        return model.requires_grad_(True)

    def identity(self) -> Any:
        """A fingerprint of its weights."""
        if self.is_ours:
            entry = self.experts.entry_or_none(self.name)
            return entry.weights_print if entry else None
        return base_models.weights_identity(self.name, base_models.model_config(Base(model=self.name)))


def _refuse_other_pieces(experts: ExpertSet, name: str) -> None:
    ours, theirs = experts.tokenizer(), base_models.load_tokenizer(name)
    texts = [document.text[:2000] for document in experts.heldout("test")[:20]]
    same = ours.get_vocab() == theirs.get_vocab()
    if not same or any(ours(text)["input_ids"] != theirs(text)["input_ids"] for text in texts):
        raise BadInput(
            f"{name}: reads other pieces than {experts.path}, and a student learns what experts say of each piece. "
            "Choose a model with the run's tokenizer, or same."
        )
    base_models.check_vocabulary(theirs, base_models.model_config(Base(model=name)))
