"""A recipe that asks for a measured plan: measured in its own run, before the plan is made."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from clustering.plans.advice import advise
from xelm.launch.options import Launch
from xelm.measuring.branches import DEFAULT_SHARE, plan_branches
from xelm.measuring.measure import bill_of, measure_in
from xelm.recipe.recipe import Clusters, Recipe
from xelm.run.folder import RunFolder
from xelm.trials.place import Place
from xelm.trials.tasks import Task
from xelm.trials.work import do_tasks

_HERE = "."
logger = logging.getLogger(__name__)


def with_effects(recipe: Recipe, run: Path, launch: Launch) -> Recipe:
    """The recipe with the file of its effects; if it names none, they are measured from the run's own base.

    Args:
        recipe: The recipe, returned unchanged if its plan is not measured.
        run: The run, whose lock the caller holds.
        launch: Options for machines.
    """
    if not recipe.clusters.is_measured:
        return recipe
    file = recipe.clusters.effects
    if file is None:
        place = Place.prepare(recipe, run)
        do_tasks(run, {_HERE: place}, [Task(_HERE, None)], launch)
        effects = measure_in(place, run, _HERE, DEFAULT_SHARE, launch)
        for sentence in advise(effects).sentences():
            logger.info("%s", sentence)
        file = str(RunFolder(run).effects)
    return dataclasses.replace(recipe, clusters=dataclasses.replace(recipe.clusters, effects=file))


def stand_in(recipe: Recipe, run: Path) -> tuple[Recipe, list[str]]:
    """For a dry run, which has no effects yet: the recipe with even typological clusters, and the cost of measuring.

    Returns:
        The recipe, and lines to show with its budget; unchanged, and no lines, if nothing must be measured first.
    """
    if not recipe.clusters.is_measured or recipe.clusters.effects is not None:
        return recipe, []
    place = Place.prepare(recipe, run)
    bill = bill_of(place, plan_branches(place))
    clusters = Clusters(k=recipe.clusters.k, balance="languages")
    share = 100 * bill.tokens / bill.budget_tokens
    lines = [
        "the clusters shown are typological ones of the same sizes: the measured plan is made after measuring.",
        f"measuring takes {bill.tokens:,} tokens, {share:.1f} % of [train] tokens, on top of what is listed.",
    ]
    return dataclasses.replace(recipe, clusters=clusters), lines
