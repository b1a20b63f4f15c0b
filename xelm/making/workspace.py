"""A run that is ready to be trained: a recipe resolved into inputs, plan, budget, and how its models are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.plans.effects import Effects
from xelm.corpus.duplicates import Duplicates, find_duplicates, kept_duplicates
from xelm.corpus.kept_text import READ_APART
from xelm.corpus.store import heldout_texts, training_texts
from xelm.making.budgets.budget import Budget, ModelSize, make_budget
from xelm.making.early import check_early
from xelm.making.inputs import Found, Inputs
from xelm.making.makings import Makings
from xelm.making.plan import plan_for
from xelm.making.vocabularies import OwnPieces, own_pieces
from xelm.measuring.layers import settle
from xelm.recipe.recipe import Recipe
from xelm.run.folder import RunFolder
from xelm.run.records.manifest import fingerprint

if TYPE_CHECKING:
    from clustering import ClusterPlan


@dataclass(frozen=True)
class Workspace:
    """A recipe resolved for one run folder: its inputs, plan and budget."""

    run: Path
    recipe: Recipe
    inputs: Inputs
    plan: ClusterPlan
    budget: Budget
    own: Mapping[str, OwnPieces] = field(default_factory=dict)
    """The experts that read pieces of their own."""

    @classmethod
    def prepare(cls, recipe: Recipe, run: Path) -> Workspace:
        """Find and tokenise the text and share out the budget; train nothing.

        Raises:
            BadInput: For any fault of the recipe or the text; faults that can be found before all text is read are
                reported before.
        """
        found = Found.of(recipe.base, recipe.data, recipe.train.sequence_length)
        plan = check_early(recipe, found)
        inputs = Inputs.resolve(recipe.base, recipe.data, recipe.train, found, run)
        if recipe.clusters.balance == "tokens":
            plan = plan_for(recipe.clusters, recipe.data, inputs.sources, inputs.num_tokens)
        if recipe.expert.is_auto:
            expert = settle(recipe.expert, Effects.load(RunFolder(run).effects), plan.clusters)
            recipe = dataclasses.replace(recipe, expert=expert)
        own = own_pieces(recipe, plan, inputs, run)
        pieces = {name: found.record.new_pieces for name, found in own.items()}
        new = recipe.base.new
        size = ModelSize.of(inputs.config, recipe.expert, recipe.objective, recipe.base.dtype)
        budget = make_budget(
            recipe.train,
            plan,
            inputs.num_blocks,
            inputs.sequence_length,
            size.with_rows(max(pieces.values(), default=0)),
            base_tokens=new.tokens if new else None,
            replay=recipe.expert.replay,
            own_blocks={name: found.inputs.num_blocks for name, found in own.items()},
        )
        return cls(run, recipe, inputs, plan, dataclasses.replace(budget, own_pieces=pieces), own)

    @property
    def makings(self) -> Makings:
        """How the run's models are made, given what is in its folder now."""
        recipe = self.recipe
        settings = recipe.base, recipe.data, recipe.train, recipe.expert
        return Makings(self.run, *settings, self.inputs, self.budget, self.own)

    def read_apart(self, code: str) -> dict[str, Any]:
        """Where the text of a language is kept as experts with pieces of their own read it, for the manifest."""
        stores = {name: found.inputs.stores.get(code) for name, found in self.own.items()}
        folders = {name: store.heldout_file.parent.name for name, store in sorted(stores.items()) if store}
        return {READ_APART: folders} if folders else {}

    def duplicates(self) -> Duplicates:
        """Text that is in two splits or languages; it is looked for once and kept beside the tokens."""
        inputs, reading = self.inputs, self.recipe.data
        key = fingerprint(reading.settings() | {"path": ""}, inputs.fingerprints)
        heldout = {
            code: {split: texts for split in ("valid", "test") if (texts := heldout_texts(store, split))}
            for code, store in inputs.stores.items()
        }
        training = {source.code: partial(training_texts, source, reading) for source in inputs.sources}
        file = self.run / "cache" / f"duplicates-{key[:12]}.json"
        return kept_duplicates(file, lambda: find_duplicates(heldout, training))
