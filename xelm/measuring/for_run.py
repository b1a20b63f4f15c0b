"""A recipe that asks for a measured plan or measured layers: measured in its own run, before the plan is made."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from clustering.plans.advice import advise
from clustering.plans.effects import Effects
from xelm.launch.options import Launch
from xelm.measuring.branches import DEFAULT_SHARE, plan_branches
from xelm.measuring.layers import refuse_without_updates
from xelm.measuring.measure import bill_of, measure_in
from xelm.recipe.recipe import Clusters, Recipe
from xelm.run.folder import RunFolder
from xelm.trials.place import Place
from xelm.trials.tasks import Task
from xelm.trials.work import do_tasks

_HERE = "."
logger = logging.getLogger(__name__)


def with_effects(recipe: Recipe, run: Path, launch: Launch) -> Recipe:
    """The recipe with the file of its effects; what it needs and does not name is measured from the run's own base.

    Args:
        recipe: The recipe, returned unchanged if neither its plan nor its experts are measured.
        run: The run, whose lock the caller holds.
        launch: Options for machines.
    """
    clusters, file = recipe.clusters, RunFolder(run).effects
    if recipe.expert.is_auto and clusters.effects is not None:
        effects = Effects.load(clusters.effects)
        refuse_without_updates(effects)
        effects.save(file)
    elif recipe.expert.is_auto or (clusters.is_measured and clusters.effects is None):
        place = Place.prepare(recipe, run)
        do_tasks(run, {_HERE: place}, [Task(_HERE, None)], launch)
        effects = measure_in(place, run, _HERE, DEFAULT_SHARE, launch, joint=clusters.is_measured)
        if clusters.is_measured:
            for sentence in advise(effects).sentences():
                logger.info("%s", sentence)
    if not clusters.is_measured or clusters.effects is not None:
        return recipe
    return dataclasses.replace(recipe, clusters=dataclasses.replace(clusters, effects=str(file)))


def stand_in(recipe: Recipe, run: Path) -> tuple[Recipe, list[str]]:
    """For a dry run, which has no effects yet: the recipe with clusters and layers of the same sizes, and the cost.

    Returns:
        The recipe, and lines to show with its budget; unchanged, and no lines, if nothing must be measured first.
    """
    clusters, lines = recipe.clusters, list[str]()
    needs_plan = clusters.is_measured and clusters.effects is None
    if not needs_plan and not recipe.expert.is_auto:
        return recipe, []
    if needs_plan:
        lines.append(
            "the clusters shown are typological ones of the same sizes: the measured plan is made after measuring."
        )
    if clusters.effects is None:
        place = Place.prepare(recipe, run)
        bill = bill_of(place, plan_branches(place, joint=needs_plan))
        share = 100 * bill.tokens / bill.budget_tokens
        lines.append(
            f"measuring takes {bill.tokens:,} tokens, {share:.1f} % of [train] tokens, on top of what is listed."
        )
    if recipe.expert.is_auto:
        lines.append("the layers of [expert] are chosen after measuring; sizes are those of as many other layers.")
    shown = Clusters(k=clusters.k, balance="languages") if needs_plan else clusters
    return dataclasses.replace(recipe, clusters=shown, expert=recipe.expert.stand_in()), lines
