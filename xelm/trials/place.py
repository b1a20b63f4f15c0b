"""The folder in which trials are made: laid out as a run, with one base, and models named by their inputs."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.corpora.find import find_sources
from clustering.files import atomic_write
from xelm.corpus.store import heldout_texts
from xelm.making.again.identity import weights_settings
from xelm.making.make_model import Making, finished_entry, is_made
from xelm.making.portable import portable_recipe
from xelm.making.workspace import Workspace
from xelm.recipe.recipe import Clusters, Recipe
from xelm.run.experts import Document, ExpertSet
from xelm.run.names import BASE
from xelm.run.records.manifest import Manifest, ModelEntry, fingerprint
from xelm.trials.blocks import draw_own_blocks, phases_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from xelm.training.stage import Stage

_KEY_LENGTH = 10
_ONE_CLUSTER = "one.json"


@dataclass(frozen=True)
class Trial:
    """A training of some languages from the base.

    Attributes:
        codes: Its languages, sorted.
        blocks: Number of blocks of each, in the order of `codes`.
        batch_size: Blocks of an optimizer step.
        split: Held-out text that the model reads afterwards: `test` for results, `valid` for decisions.
        reads: Languages whose held-out text it reads.
    """

    codes: tuple[str, ...]
    blocks: tuple[int, ...]
    batch_size: int
    split: str
    reads: tuple[str, ...]

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Trial:
        """Of JSON values."""
        codes, blocks, reads = (tuple(value[key]) for key in ("codes", "blocks", "reads"))
        return cls(codes, blocks, value["batch_size"], value["split"], reads)


@dataclass
class Place:
    """A folder of trials from one base."""

    workspace: Workspace

    @classmethod
    def prepare(cls, recipe: Recipe, folder: Path) -> Place:
        """Find and tokenise the text; the recipe's clusters do not matter here.

        Raises:
            BadInput: For any fault of the recipe or the text.
        """
        from clustering import ClusterPlan

        codes = [source.code for source in find_sources(recipe.data.path, recipe.data.languages)]
        # Trials read their own languages alone, and train all weights where they are to tell which layers matter.
        expert = recipe.expert.whole() if recipe.expert.is_auto else recipe.expert.alone()
        with tempfile.TemporaryDirectory() as scratch:
            plan = Path(scratch) / _ONE_CLUSTER
            ClusterPlan({"all": sorted(codes)}, "one cluster").save(plan)
            alone = dataclasses.replace(recipe, clusters=Clusters(plan=str(plan)), expert=expert)
            return cls(Workspace.prepare(alone, folder))

    @property
    def folder(self) -> Path:
        """Folder of the trials."""
        return self.workspace.run

    @property
    def recipe(self) -> Recipe:
        """The recipe, with all languages in one cluster."""
        return self.workspace.recipe

    @property
    def codes(self) -> list[str]:
        """All languages, sorted."""
        return sorted(self.workspace.inputs.blocks)

    @property
    def num_blocks(self) -> dict[str, int]:
        """Number of training blocks of each language."""
        return {code: len(self.workspace.inputs.blocks[code]) for code in self.codes}

    @property
    def sequence_length(self) -> int:
        """Number of tokens of a block."""
        return self.workspace.inputs.sequence_length

    def documents(self, split: str, codes: Sequence[str]) -> dict[str, list[Document]]:
        """Held-out documents of some languages."""
        stores = self.workspace.inputs.stores
        return {code: [Document(code, text) for text in heldout_texts(stores[code], split)] for code in codes}

    @cached_property
    def base(self) -> Making:
        """How the base is made, which is the same as in `xelm train`."""
        return self.workspace.makings.base

    def making(self, trial: Trial) -> Making:
        """How a trial's model is made; its folder is named by everything that decides its weights."""
        inputs = self.workspace.inputs
        expert, settings = self.recipe.expert, dataclasses.replace(self.recipe.train, batch_size=trial.batch_size)
        phases = phases_of(self.recipe.train, self.num_blocks, dict(zip(trial.codes, trial.blocks, strict=True)))
        key = fingerprint(
            self.base.entry.fingerprint,
            expert.identity(),
            weights_settings(self.recipe.train, self.recipe.data),
            trial.batch_size,
            {code: inputs.fingerprints[code] for code in trial.codes},
            phases,
        )
        name = name_of_trial(trial, key)
        entry = ModelEntry(list(trial.codes), BASE, kind=expert.kind, fingerprint=key)
        stage = self._stage(name, trial, phases, settings, key)
        folder = self.folder / "experts" / name
        return Making(folder, entry, lambda: expert.make_trainable(self._own_base()), expert, stage, inputs.tokenizer)

    def _stage(self, name: str, trial: Trial, phases: list[dict[str, int]], settings: Any, key: str) -> Stage:
        from xelm.training.stage import Stage

        inputs, own_name = self.workspace.inputs, " ".join(trial.codes)
        blocks = {code: inputs.blocks[code] for code in trial.codes}
        order = draw_own_blocks({code: len(b) for code, b in blocks.items()}, phases, seed=settings.seed, name=own_name)
        settings = dataclasses.replace(
            settings,
            evaluate_every_steps=None,
            log="files",
            micro_batch_size=None if trial.batch_size != self.recipe.train.batch_size else settings.micro_batch_size,
        )
        return Stage(
            name,
            order,
            blocks,
            settings.learning_rate,
            settings,
            self.folder / "work" / f"{name}-{key[:12]}",
            batches=self.recipe.objective.batches(inputs.tokenizer, settings, own_name),
            log_folder=self.folder / "logs",
            **self.recipe.expert.keeping,
        )

    def experts(self, trial: Trial | None = None) -> ExpertSet:
        """The base, and a trial's model if one is given, as a run in memory, to load and measure them."""
        from clustering import ClusterPlan

        base = finished_entry(self.folder / BASE)
        manifest = Manifest(portable_recipe(self.recipe), base=base)
        if trial is None:
            return ExpertSet(self.folder, manifest, ClusterPlan({"all": self.codes}, "base"))
        making = self.making(trial)
        entry = finished_entry(making.folder)
        name = making.folder.name
        manifest.experts = {name: entry} if entry else {}
        return ExpertSet(self.folder, manifest, ClusterPlan({name: list(trial.codes)}, "trial"))

    def _own_base(self) -> PreTrainedModel:
        return self.workspace.makings.own_base()

    def take_base(self, run: Path) -> bool:
        """Link the base of a run, if it was made from the same inputs.

        Returns:
            Whether there is a finished base now.
        """
        making = self.base
        there = finished_entry(run / BASE)
        known = (making.entry.fingerprint, *making.former)
        if is_made(making) or there is None or there.fingerprint not in known:
            return is_made(making)
        with atomic_write(making.folder) as partial:
            shutil.copytree(run / BASE, partial, copy_function=_link)
        return True


def name_of_trial(trial: Trial, key: str) -> str:
    """Readable and unique: `deu-nld-1a2b3c4d5e`."""
    shown = [*trial.codes[:3], *(["etc"] if len(trial.codes) > 3 else [])]
    return "-".join([*shown, key[:_KEY_LENGTH]])


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
