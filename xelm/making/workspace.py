"""A run being trained: its folders, its lock, its text as blocks, and how each of its models is made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.corpora.find import Source, find_sources
from clustering.errors import BadInput
from clustering.progress import show_progress
from router.identify.stored import check_identifier
from xelm.adding.tokenizer_fit import badly_served
from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import draw_phases
from xelm.corpus.duplicates import Duplicates, find_duplicates, kept_duplicates
from xelm.corpus.store import TokenStore, build_store, heldout_store, heldout_texts, training_texts
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.budget import Budget, StageBudget, make_budget
from xelm.making.make_model import Making
from xelm.making.plan import check_clusters, plan_for
from xelm.models import base as base_models
from xelm.models.tokenizers import keep_tokenizer, new_tokenizer
from xelm.recipe.recipe import Recipe, Train
from xelm.run.folder import RunFolder
from xelm.run.manifest import ModelEntry, fingerprint
from xelm.run.names import BASE, DENSE
from xelm.training.stage import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from clustering import ClusterPlan

_NOT_IN_WEIGHTS = ("tokens", "share", "dense", "checkpoint_every_steps", "evaluate_every_steps", "log")
"""[train] keys that do not change how a model of a given number of steps comes out."""


@dataclass
class Workspace:
    """What all stages of a run share."""

    run: Path
    recipe: Recipe
    sources: list[Source]
    fingerprints: dict[str, str]
    """Per language, of its text."""
    tokenizer: PreTrainedTokenizerBase
    config: Any
    """transformers configuration of the base."""
    stores: dict[str, TokenStore]
    blocks: dict[str, Blocks]
    plan: ClusterPlan
    budget: Budget

    @classmethod
    def prepare(cls, recipe: Recipe, run: Path) -> Workspace:
        """Find, tokenise and share out everything, training nothing.

        Raises:
            BadInput: For anything in the recipe or the text that stands in the way.
        """
        sources = find_sources(recipe.data.path, recipe.data.languages)
        check_clusters(recipe, len(sources))
        check_identifier(recipe.router.identifier, [source.code for source in sources])
        length = base_models.sequence_length(recipe.base, recipe.train.sequence_length)
        fingerprints = {source.code: source.fingerprint() for source in sources}
        tokenizer = _tokenizer(recipe, sources, fingerprints, run)
        config = (
            base_models.new_config(recipe.base.new, tokenizer)
            if recipe.base.new
            else base_models.model_config(recipe.base)
        )
        base_models.check_vocabulary(tokenizer, config)
        stores = _stores(recipe, sources, fingerprints, tokenizer, run)
        plan = plan_for(recipe, sources, {code: store.counts.tokens for code, store in stores.items()})
        blocks = {code: Blocks(store, length) for code, store in stores.items()}
        num_blocks = {code: len(b) for code, b in blocks.items()}
        budget = make_budget(recipe, plan, num_blocks, length, config)
        return cls(run, recipe, sources, fingerprints, tokenizer, config, stores, blocks, plan, budget)

    def makings(self) -> dict[str, Making]:
        """How every model of the run is made, the base first."""
        base = self.base_making()
        names = [*self.plan.clusters, *([DENSE] if self.budget.dense else [])]
        return {BASE: base, **{name: self.trained_making(name, base.entry) for name in names}}

    def making(self, name: str) -> Making:
        """How one model of the run is made: `base`, `dense` or an expert."""
        base = self.base_making()
        return base if name == BASE else self.trained_making(name, base.entry)

    def tokenizer_warnings(self) -> list[str]:
        """Which languages the tokenizer serves badly, by their held-out text; single bytes serve all alike."""
        new = self.recipe.base.new
        if new and new.tokenizer == "byte":
            return []
        from clustering.sources.profiles import profile_texts
        from xelm.models.profile_tokenizers import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer.name_or_path)
        texts = {code: heldout_texts(store) for code, store in self.stores.items()}
        return badly_served({code: profile_texts(found, tokenizer) for code, found in texts.items()})

    def duplicates(self) -> Duplicates:
        """Text that stands in two splits or languages; looked for once and kept beside the tokens."""
        key = fingerprint(self.recipe.data.settings() | {"path": ""}, self.fingerprints)
        heldout = {
            code: {split: texts for split in ("valid", "test") if (texts := heldout_texts(store, split))}
            for code, store in self.stores.items()
        }
        training = {s.code: partial(training_texts, s, self.recipe.data) for s in self.sources}
        file = self.run / "cache" / f"duplicates-{key[:12]}.json"
        return kept_duplicates(file, lambda: find_duplicates(heldout, training))

    def base_making(self) -> Making:
        """How the base is made: trained anew, or copied from hub or path."""
        recipe, new = self.recipe, self.recipe.base.new
        everyone = sorted(self.blocks)
        if new is None or self.budget.base is None:
            source = str(recipe.base.model)
            weights = base_models.weights_identity(source, self.config)
            parts = [dataclasses.asdict(recipe.base) | {"model": _portable(source)}, self.config.to_dict(), weights]
            if recipe.train.objective != Train.objective:  # another head on the same body
                parts.append({"objective": recipe.train.objective})
            entry = ModelEntry([], _portable(source), fingerprint=fingerprint(*parts), tokens_before=0)
            return Making(self.run / BASE, entry, self._hub_base, ExpertKind.of(kind="full"), None, self.tokenizer)
        parts = [dataclasses.asdict(new), self._weights_settings(), self.fingerprints, self.budget.base.steps]
        if recipe.base.dtype == "bfloat16":
            parts.append({"dtype": recipe.base.dtype})
        entry = ModelEntry(everyone, None, fingerprint=fingerprint(*parts), tokens_before=0)
        settings = dataclasses.replace(recipe.train, learning_rate=new.learning_rate)
        stage = self._stage(BASE, self.budget.base, settings, entry)
        return Making(self.run / BASE, entry, self._new_base, ExpertKind.of(kind="full"), stage, self.tokenizer)

    def trained_making(self, name: str, base: ModelEntry) -> Making:
        """How an expert, or `dense`, is made from the finished base."""
        budget = self.budget.dense if name == DENSE else self.budget.experts[name]
        if budget is None:
            raise BadInput(f"no {name} in this recipe.")
        # The dense baseline is always trained in full: it stands for what a user would do instead.
        expert = self.recipe.expert if name != DENSE else self.recipe.expert.as_kind("full")
        codes = list(budget.epochs)
        texts = {code: self.fingerprints[code] for code in codes}
        parts: list[Any] = [base.fingerprint, expert.identity(), self._weights_settings(), texts, budget.steps]
        if len(budget.counts) > 1 or self.recipe.train.sampling != "temperature":
            # Who comes how often, and when, hangs on the other languages too.
            parts.append(budget.counts)
        entry = ModelEntry(
            codes,
            BASE,
            kind=expert.kind,
            fingerprint=fingerprint(name, *parts),
            parent_fingerprint=base.fingerprint,
            tokens_before=self.budget.base.tokens if self.budget.base else 0,
        )
        stage = self._stage(name, budget, self.recipe.train, entry)
        folder = RunFolder(self.run).model(name)
        return Making(folder, entry, lambda: expert.prepare(self._own_base()), expert, stage, self.tokenizer)

    def _weights_settings(self) -> dict[str, Any]:
        settings = dataclasses.asdict(self.recipe.train)
        reading = self.recipe.data.settings()
        for key in _NOT_IN_WEIGHTS:
            settings.pop(key)
        for key in ("path", "languages", "heldout_bytes"):
            reading.pop(key)
        return settings | reading

    def _stage(self, name: str, budget: StageBudget, settings: Train, entry: ModelEntry) -> Stage:
        blocks = {code: self.blocks[code] for code in budget.shares}
        num_blocks = {code: len(b) for code, b in blocks.items()}
        order = draw_phases(num_blocks, budget.counts, seed=settings.seed, name=name)
        checkpoints = RunFolder(self.run).checkpoints(name, entry.fingerprint)
        return Stage(
            name,
            order,
            blocks,
            settings.learning_rate,
            settings,
            checkpoints,
            batches=self.recipe.objective.batches(self.tokenizer, settings, name),
            valid=self._valid(blocks) if settings.evaluate_every_steps else {},
            log_folder=RunFolder(self.run).logs,
        )

    def _valid(self, blocks: dict[str, Blocks]) -> dict[str, Blocks]:
        stores = {code: heldout_store(b.store, "valid", self.tokenizer) for code, b in blocks.items()}
        length = next(iter(blocks.values())).sequence_length
        return {code: Blocks(store, length) for code, store in stores.items() if len(store.tokens)}

    def _new_base(self) -> PreTrainedModel:
        new = self.recipe.base.new
        if new is None:
            raise BadInput("this recipe has no [base.new].")
        return base_models.new_model(new, self.tokenizer, self.recipe.train.seed, dtype=self.recipe.base.dtype)

    def _hub_base(self) -> PreTrainedModel:
        base = self.recipe.base
        return base_models.load_model(
            str(base.model),
            self.recipe.objective,
            dtype="auto" if base.dtype == "auto" else base_models.weights_dtype(base.dtype),
            trust_remote_code=base.trust_remote_code,
        )

    def _own_base(self) -> PreTrainedModel:
        return base_models.load_model(
            str(self.run / BASE),
            self.recipe.objective,
            dtype="auto",
            trust_remote_code=self.recipe.base.trust_remote_code,
        )


def _portable(name: str) -> str:
    # A run names no folder of the machine that made it.
    return Path(name).name if Path(name).is_absolute() else name


def portable_recipe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the manifest keeps it: every field, paths as they were written, of absolute ones the last name.

    Args:
        recipe: As it was read, so that the same recipe in two folders gives the same run.
    """
    table = recipe.to_dict()
    table["data"]["path"] = _portable(table["data"]["path"])
    for section, key in (("base", "model"), ("clusters", "plan")):
        if table[section][key]:
            table[section][key] = _portable(table[section][key])
    name, colon, file = table["router"]["identifier"].partition(":")
    table["router"]["identifier"] = name + colon + _portable(file)
    return table


def _tokenizer(
    recipe: Recipe, sources: list[Source], fingerprints: dict[str, str], run: Path
) -> PreTrainedTokenizerBase:
    new, base = recipe.base.new, recipe.base
    if new is None:
        return base_models.load_tokenizer(str(base.model), trust_remote_code=base.trust_remote_code)
    if new.tokenizer == "byte":
        return new_tokenizer(new, ())
    key = fingerprint(dataclasses.asdict(new), recipe.data.settings() | {"path": ""}, fingerprints)
    folder = run / "cache" / f"tokenizer-{key[:12]}"
    texts = (text for source in sources for text in training_texts(source, recipe.data))
    keep_tokenizer(folder, new, texts)
    return base_models.load_tokenizer(str(folder))


def _stores(
    recipe: Recipe,
    sources: list[Source],
    fingerprints: dict[str, str],
    tokenizer: PreTrainedTokenizerBase,
    run: Path,
) -> dict[str, TokenStore]:
    reading = recipe.data.settings() | {"path": "", "languages": None}
    mapping = fingerprint(sorted(tokenizer.get_vocab().items()), type(tokenizer).__name__)
    stores = {}
    for source in show_progress(sources, desc="tokenise", unit="language", leave=False):
        key = fingerprint(reading, mapping, fingerprints[source.code])
        folder = run / "cache" / f"{source.code}-{key[:12]}"
        stores[source.code] = build_store(folder, source, recipe.data, tokenizer, vocab_size=len(tokenizer))
    return stores
