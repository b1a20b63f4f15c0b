"""`ModelBase`: the models that a task may sit on, and which of them reads which rows under a policy."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from xelm.transferring.data.examples import Example
from xelm.transferring.features.encoder import ENCODERS, Encoder

if TYPE_CHECKING:
    from xelm.objectives.objective import Objective
    from xelm.transferring.recipe import TaskBase

ONLY = "model"
"""Name of the only model of a base that is no run."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pass:
    """One model answers: who reads the rows that are learnt from, and who answers.

    Attributes:
        readers: Model that reads each training row.
        answerer: Model that answers the target.
        weights: Weight of its answers for each test row; None: they are all.
    """

    readers: tuple[str, ...]
    answerer: str
    weights: np.ndarray | None = None


class ModelBase(ABC):
    """Models by name."""

    def __init__(self, settings: TaskBase) -> None:
        self.settings = settings
        self.encoder = cache(self._encoder)

    @abstractmethod
    def policies(self) -> tuple[str, ...]:
        """The policies to measure, in order; the first is the table's plain one."""

    @abstractmethod
    def passes(
        self, policy: str, rows: Sequence[Example], sources: Sequence[str], target: str, tests: Sequence[Example]
    ) -> list[Pass]:
        """Which models learn and answer.

        Args:
            policy: One of `policies`.
            rows: Training rows.
            sources: Languages that teach, in the order of the recipe.
            target: The language of the tests.
            tests: Test rows.

        Raises:
            CannotError: If the policy makes no sense for these.
        """

    @abstractmethod
    def _encoder(self, name: str) -> Encoder:
        """The encoder of a model."""

    @abstractmethod
    def load(self, name: str) -> tuple[Any, Any]:
        """A model without its output layer, on the device, and its tokenizer."""

    @abstractmethod
    def speaker(self, name: str) -> tuple[Any, Any, Objective]:
        """A model with its output layer, on the device, its tokenizer, and what it was trained to do."""

    @abstractmethod
    def identity(self, name: str) -> list[str]:
        """A fingerprint of a model."""

    @property
    @abstractmethod
    def tokenizer_name(self) -> str | None:
        """A tokenizer that cuts as the models do, for `rank_sources`."""


class CannotError(Exception):
    """One cell of the table cannot be measured; the message says why."""


class Features(ModelBase):
    """Features that need no model."""

    def policies(self) -> tuple[str, ...]:
        return (self.settings.features,)

    def passes(
        self, policy: str, rows: Sequence[Example], sources: Sequence[str], target: str, tests: Sequence[Example]
    ) -> list[Pass]:
        return [Pass((ONLY,) * len(rows), ONLY)]

    def _encoder(self, name: str) -> Encoder:
        encoder = ENCODERS.find(self.settings.features)(self.settings)
        assert encoder is not None
        return encoder

    def load(self, name: str) -> tuple[Any, Any]:
        raise BadInput(f'[base] features = "{self.settings.features}" has no model to train: use adapter = "head".')

    def speaker(self, name: str) -> tuple[Any, Any, Objective]:
        raise BadInput(
            f'[base] features = "{self.settings.features}" has no model that answers: name a model or a run.'
        )

    def identity(self, name: str) -> list[str]:
        return [self.settings.features]

    @property
    def tokenizer_name(self) -> str | None:
        return None


class SingleModel(ModelBase):
    """One model of any kind."""

    def policies(self) -> tuple[str, ...]:
        return (ONLY,)

    def passes(
        self, policy: str, rows: Sequence[Example], sources: Sequence[str], target: str, tests: Sequence[Example]
    ) -> list[Pass]:
        return [Pass((ONLY,) * len(rows), ONLY)]

    def _encoder(self, name: str) -> Encoder:
        from xelm.transferring.features.hidden import HiddenEncoder

        return HiddenEncoder(self._name, self.identity(name), lambda: self.load(name), self.settings)

    @property
    def _name(self) -> str:
        assert self.settings.model is not None
        return self.settings.model

    def load(self, name: str) -> tuple[Any, Any]:
        from transformers import AutoModel

        from xelm.inference.models import Placement, load_options
        from xelm.models.base import load_tokenizer, quiet_transformers, refuse_endless
        from xelm.models.foreign import unusable_reported

        options = load_options(Placement(device=self.settings.device, dtype="float32"))
        with unusable_reported(f"[base] model = '{self._name}' cannot be loaded"), quiet_transformers(), _no_reports():
            refuse_endless(Path(self._name))
            model = AutoModel.from_pretrained(self._name, use_safetensors=True, **options)
        return without_output(model), fast_only(load_tokenizer(self._name), self._name)

    def speaker(self, name: str) -> tuple[Any, Any, Objective]:
        from xelm.inference.models import Placement, load_options
        from xelm.models.base import load_model, load_tokenizer, model_config
        from xelm.objectives.objective import OBJECTIVES
        from xelm.recipe.recipe import Base

        objective = OBJECTIVES.find(_trained_to(model_config(Base(model=self._name)), self._name))
        options = load_options(Placement(device=self.settings.device, dtype="float32"))
        model = load_model(self._name, objective, whole=True, **options).eval()
        return model, fast_only(load_tokenizer(self._name), self._name), objective

    def identity(self, name: str) -> list[str]:
        from xelm.models.base import model_config, weights_identity
        from xelm.recipe.recipe import Base

        return weights_identity(self._name, model_config(Base(model=self._name)))

    @property
    def tokenizer_name(self) -> str | None:
        return self._name


_SPEAKERS = {"ForCausalLM": "causal", "LMHeadModel": "causal", "ForMaskedLM": "masked"}
_SPEAKERS |= {"ForConditionalGeneration": "denoise"}


def _trained_to(config: Any, name: str) -> str:
    """The objective of a model, by the architecture that its configuration names."""
    for architecture in getattr(config, "architectures", None) or ():
        for ending, objective in _SPEAKERS.items():
            if architecture.endswith(ending):
                return objective
    found = ", ".join(getattr(config, "architectures", None) or ()) or "none"
    raise BadInput(
        f"[base] model = '{name}' has no output layer of a causal, masked or encoder-decoder model (architecture: "
        f'{found}), so it cannot answer templates. Use adapter = "head".'
    )


def digest(value: Any) -> str:
    """A fingerprint of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:20]


@contextmanager
def _no_reports() -> Iterator[None]:
    """Hide transformers' report of weights that lack or are too many: an output layer is never needed here."""
    from transformers.utils import logging as reports

    level = reports.get_verbosity()
    reports.set_verbosity_error()
    try:
        yield
    finally:
        reports.set_verbosity(level)


def without_output(model: Any) -> Any:
    """The part of a model that makes hidden states, in evaluation mode."""
    return body_of(model).eval()


def body_of(model: Any) -> Any:
    """The part of a model that makes hidden states, of an adapted one with its adapters."""
    # Not by `peft_config`, which peft also leaves on the base itself with the lowest transformers.
    whole = getattr(model, "get_base_model", lambda: model)()
    inner = getattr(whole, "base_model", whole)
    return inner.get_encoder() if getattr(inner.config, "is_encoder_decoder", False) else inner


def fast_only(tokenizer: Any, name: str) -> Any:
    if not getattr(tokenizer, "is_fast", False):
        raise BadInput(f"{name}: its tokenizer is no fast one, which tells where each piece stands in the text.")
    return tokenizer
