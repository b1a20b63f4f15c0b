"""How each model of a run is made: from which weights, by which training, known by which fingerprint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.again.identity import former_engines, recorded_manifest, weights_settings
from xelm.making.budgets.budget import Budget
from xelm.making.budgets.steps import StageBudget
from xelm.making.inputs import Inputs
from xelm.making.make_model import Making, finished_entry, is_made
from xelm.making.portable import portable
from xelm.making.vocabularies import First, OwnPieces
from xelm.models import base as base_models
from xelm.objectives.objective import OBJECTIVES, Objective
from xelm.recipe.recipe import Base, Data, NewBase, Train
from xelm.run.folder import model_path
from xelm.run.model_files import refuse_names_that_leave
from xelm.run.names import BASE, DENSE, is_base, is_dense
from xelm.run.records.manifest import ModelEntry, fingerprint
from xelm.training.checkpoint import newest_step
from xelm.training.stage import Stage
from xelm.vocabulary.training import rate_of_rows, rows_identity

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FULL, _OPEN = "full", "a training that can be made longer"


@dataclass(frozen=True)
class Makings:
    """How the models of a run are made."""

    run: Path
    source: Base
    """Where the base comes from."""
    reading: Data
    train: Train
    expert: ExpertKind
    inputs: Inputs
    budget: Budget
    own: Mapping[str, OwnPieces] = field(default_factory=dict)
    """The experts that read pieces of their own."""

    @property
    def _objective(self) -> Objective:
        return OBJECTIVES.find(self.train.objective)

    def all(self) -> dict[str, Making]:
        """Every model, the base first."""
        names = [*self.budget.experts, *([DENSE] if self.budget.dense else [])]
        return {BASE: self.base, **{name: self.trained(name) for name in names}}

    def one(self, name: str) -> Making:
        """One model: `base`, `dense` or an expert."""
        return self.base if is_base(name) else self.trained(name)

    @cached_property
    def base(self) -> Making:
        """The base: newly trained, or copied from the hub or a path."""
        new = self.source.new
        full = ExpertKind.of(kind=_FULL)
        if new is None or self.budget.base is None:
            source = str(self.source.model)
            weights = base_models.weights_identity(source, self.inputs.config)
            table = self.source.settings() | {"model": portable(source)}
            parts = [table, self.inputs.config.to_dict(), weights]
            if self.train.objective != Train.objective:  # another head on the same body
                parts.append({"objective": self.train.objective})
            entry = ModelEntry([], portable(source), fingerprint=fingerprint(*parts), tokens_before=0)
            return Making(self.run / BASE, entry, self._hub_base, full, None, self.inputs.tokenizer)
        prints = [self._base_print(new, self.budget.base, settings) for settings in self._settings]
        entry = ModelEntry(sorted(self.inputs.blocks), None, fingerprint=prints[0], tokens_before=0)
        settings = dataclasses.replace(self.train, learning_rate=new.learning_rate)
        stage = self._stage(BASE, self.budget.base, settings, prints)
        return Making(self.run / BASE, entry, self._new_base, full, stage, self.inputs.tokenizer, prints[1:])

    def trained(self, name: str) -> Making:
        """An expert, or `dense`, made from the finished base."""
        if not is_dense(name):
            return self._trained(name, self.budget.experts[name], self.expert)
        if self.budget.dense is None:
            raise BadInput(f"no {name} in this recipe.")
        whole = self._trained(name, self.budget.dense, self.expert.whole())
        # Earlier versions always trained dense in full, whatever the experts were; one that they began is kept.
        begun = is_made(whole) or (whole.stage is not None and newest_step(whole.stage.checkpoints) is not None)
        if begun or self.train.dense == _FULL:
            return whole
        return self._trained(name, self.budget.dense, self.expert.alone())

    def _trained(self, name: str, budget: StageBudget, kind: ExpertKind) -> Making:
        prints = [self._trained_print(name, budget, kind, settings) for settings in self._settings]
        stable, former = None, prints[1:]
        if self._can_grow(name, budget):
            # Earlier versions drew such a training's blocks in an order that hangs on its length.
            former, prints = prints, [fingerprint(_OPEN, value) for value in prints[:1]]
            course = self._trained_print(name, replace(budget, steps=0), kind, self._settings[0])
            stable = self.run / "cache" / f"stable-{name}-{course[:12]}"
        entry = ModelEntry(
            budget.own,
            BASE,
            kind=kind.kind,
            fingerprint=prints[0],
            parent_fingerprint=self._base_entry.fingerprint,
            tokens_before=self.budget.base.tokens if self.budget.base else 0,
        )
        stage = self._stage(name, budget, self.train, prints, kind, stable)
        folder = self.run / model_path(name)
        making = Making(
            folder,
            entry,
            lambda: kind.make_trainable(self.own_base()),
            kind,
            stage,
            self._inputs(name).tokenizer,
            former,
        )
        return self._with_own_pieces(making, name) if name in self.own else making

    def _with_own_pieces(self, making: Making, name: str) -> Making:
        """The making of an expert that starts from the base with rows for pieces of its own."""
        own, rows = self.own[name], self._rows_folder(name)
        first = First(self._objective, Base(model=str(self.run / BASE)), self.train.seed)
        return replace(
            making,
            entry=replace(making.entry, vocabulary=own.record.fingerprint),
            parent=lambda: own.first_model(rows, making.kind, self.own_base, self.inputs, first),
            vocabulary=rows,
        )

    def _rows_folder(self, name: str) -> Path:
        """Where the first embeddings of an expert's own pieces are kept."""
        return self.own[name].rows_folder(self.run, self._base_entry.fingerprint, self.train.seed)

    def _rows_rate(self, name: str, tokens: int | None) -> Callable[[], float] | None:
        return partial(rate_of_rows, self._rows_folder(name), tokens) if name in self.own else None

    def _inputs(self, name: str) -> Inputs:
        """The inputs as a model reads them."""
        return self.own[name].inputs if name in self.own else self.inputs

    def _can_grow(self, name: str, budget: StageBudget) -> bool:
        """Whether a longer training would begin as this one does, up to where the learning rate falls."""
        steady = self._objective.batches(self._inputs(name).tokenizer, self.train, name).steady
        by_size = len(budget.counts) == 1 and self.train.sampling == "temperature"
        return self.train.schedule == "wsd" and steady and by_size

    @cached_property
    def _settings(self) -> list[dict[str, Any]]:
        """The settings that decide weights, as written today, then as earlier versions may have written them here."""
        engines = former_engines(self.train, recorded_manifest(self.run))
        found = [weights_settings(self.train, self.reading, engine) for engine in (None, *engines)]
        return [settings for index, settings in enumerate(found) if settings not in found[:index]]

    def _base_print(self, new: NewBase, budget: StageBudget, settings: dict[str, Any]) -> str:
        parts = [dataclasses.asdict(new), settings, self.inputs.fingerprints, budget.steps]
        if self.source.dtype == "bfloat16":
            parts.append({"dtype": self.source.dtype})
        return fingerprint(*parts)

    def _trained_print(self, name: str, budget: StageBudget, kind: ExpertKind, settings: dict[str, Any]) -> str:
        texts = {code: self.inputs.fingerprints[code] for code in budget.epochs}
        parts: list[Any] = [self._base_entry.fingerprint, kind.identity(), settings, texts, budget.steps]
        if len(budget.counts) > 1 or self.train.sampling != "temperature":
            # How often, and when, a language is drawn depends on the other languages too.
            parts.append(budget.counts)
        if name in self.own:
            parts.append({"vocabulary": self.own[name].record.fingerprint, **rows_identity(True)})
        return fingerprint(name, *parts)

    @cached_property
    def _base_entry(self) -> ModelEntry:
        """The entry of the finished base, or the one that it will get."""
        there = finished_entry(self.base.folder)
        return there if there and is_made(self.base) else self.base.entry

    def _stage(
        self,
        name: str,
        budget: StageBudget,
        settings: Train,
        prints: list[str],
        kind: ExpertKind | None = None,
        stable: Path | None = None,
    ) -> Stage:
        inputs = self._inputs(name)
        return budget.stage(
            inputs.blocks,
            settings,
            self._checkpoints(name, prints),
            batches=self._objective.batches(inputs.tokenizer, settings, name),
            valid=inputs.valid_blocks(list(budget.shares)) if settings.evaluate_every_steps else {},
            log_folder=self.run / "logs",
            **(kind.keeping if kind else {}),
            rows_rate=self._rows_rate(name, None if stable else budget.tokens),
            stable=stable,
        )

    def _checkpoints(self, name: str, prints: list[str]) -> Path:
        folders = [self.run / "work" / f"{name}-{key[:12]}" for key in prints]
        return next((folder for folder in folders if newest_step(folder) is not None), folders[0])

    def _new_base(self) -> PreTrainedModel:
        new = self.source.new
        if new is None:
            raise BadInput("this recipe has no [base.new].")
        seed, dtype = self.train.seed, self.source.dtype
        return self._attending(base_models.new_model(new, self.inputs.tokenizer, seed, dtype=dtype))

    def _hub_base(self) -> PreTrainedModel:
        dtype = "auto" if self.source.dtype == "auto" else base_models.weights_dtype(self.source.dtype)
        return self._load(str(self.source.model), dtype)

    def own_base(self) -> PreTrainedModel:
        """The finished base of the run."""
        refuse_names_that_leave(self.run, self.run / BASE)
        return self._load(str(self.run / BASE), "auto")

    def _load(self, name: str, dtype: Any) -> PreTrainedModel:
        trusted = self.source.trust_remote_code
        return self._attending(base_models.load_model(name, self._objective, dtype=dtype, trust_remote_code=trusted))

    def _attending(self, model: PreTrainedModel) -> PreTrainedModel:
        if self.source.attn_implementation is not None:
            model.set_attn_implementation(self.source.attn_implementation)
        return model
