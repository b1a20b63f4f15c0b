"""`compare_plans`: experts for every plan from one base, at equal tokens and on the same blocks, beside one dense."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clustering.errors import BadInput, arg
from xelm.comparing.comparison import ArmResult, PlanComparison
from xelm.comparing.plans import Arm, make_plans, parse_plans
from xelm.comparing.statistics import Estimate, Gains, rank_correlation
from xelm.launch.options import Launch
from xelm.making.portable import portable_recipe
from xelm.measuring.branches import DEFAULT_SHARE, plan_branches
from xelm.measuring.measure import measure_in
from xelm.recipe.recipe import Recipe
from xelm.run.failures import disk_failure_reported
from xelm.run.lock import locked
from xelm.run.records.manifest import FILE_NAME, package_versions
from xelm.trials.blocks import blocks_of_budget
from xelm.trials.place import Place, Trial
from xelm.trials.scores import Scores, num_bytes, score_base, score_trial
from xelm.trials.tasks import Task
from xelm.trials.work import do_tasks

if TYPE_CHECKING:
    from clustering import ClusterPlan
    from clustering.plans.effects import Effects

_OURS = ("seed-", "comparison.", "work", "logs", ".lock", "cache")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeedResult:
    """The losses of one seed's arms on the test text."""

    plans: dict[str, ClusterPlan]
    arms: dict[str, Scores]
    dense: Scores
    base: Scores
    bytes: Scores
    tokens: dict[str, int]
    """Training tokens of all experts of an arm."""
    measuring_tokens: dict[str, int]
    effects: Effects | None


def compare_plans(
    recipe: str | Path | Recipe,
    plans: str | Sequence[str],
    seeds: int = 1,
    out: str | Path = "comparison",
    *,
    overrides: tuple[str, ...] = (),
    share: float = DEFAULT_SHARE,
    run: str | Path | None = None,
    launch: Launch | None = None,
) -> PlanComparison:
    """Train experts for several plans from one base and compare them with one dense baseline.

    Each seed has one base and one dense baseline, trained as the experts are. A language brings the same blocks to
    every plan; experts with the same languages in two plans are trained once. Run again after an interruption it goes
    on, with the same result to the bit on CPU.

    Args:
        recipe: A TOML file, or a `Recipe`.
        plans: Names (`typological`, `tfidf`, `random:N`, `measured`, `worst`, `one`: an expert a language) and plan
            files (.json), separated by commas; in Python a list of them too.
        seeds: Number of seeds, each with a base and a dense baseline of its own; the first is the recipe's own.
        out: Folder for the models, `comparison.json` and `comparison.html`.
        overrides: Keys of the recipe file to override, as `section.key=value`, such as `train.tokens=1e6`.
        share: Part of the budget for measuring, as in `measure_effects`, if a plan is `measured`. A plan needs only the
            shorter branches, a fifth of it, and their tokens are taken from that plan's experts.
        run: A run whose base is used, instead of training one, if it was made from the same recipe and text.
        launch: How and on which machines to train; None: on this one.

    Returns:
        The comparison, which is also written there after each seed.

    Raises:
        BadInput: For a recipe, plan, text or folder that cannot be used.
        TrainingFailedError: If some models could not be made; the others are kept.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    arms, folder, launch = parse_plans(plans), Path(out), launch or Launch()
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= 100:
        raise BadInput(f"{arg('seeds', seeds)}: give a number of seeds from 1 to 100.")
    _refuse_other_folder(folder)
    with disk_failure_reported(folder), locked(folder):
        places = prepare_places(recipe, seeds, folder)
        for place in places.values():
            if run:
                place.take_base(Path(run))
        _refuse_unfit(arms, next(iter(places.values())), recipe, share)
        do_tasks(folder, places, [Task(name, None) for name in places], launch)
        results: list[SeedResult] = []
        for name in places:
            results.append(_do_seed(folder, places, name, arms, recipe, share, launch))
            comparison = _comparison(list(places.values())[: len(results)], recipe, arms, results)
            comparison.save(folder / "comparison.json")
            comparison.save(folder / "comparison.html")
            logger.info("%s", comparison.to_text())
    return comparison


def prepare_places(recipe: Recipe, seeds: int, folder: Path) -> dict[str, Place]:
    """A place for each seed; all share the tokenised text."""
    places = {}
    for seed in range(recipe.train.seed, recipe.train.seed + seeds):
        name = f"seed-{seed}"
        (folder / "cache").mkdir(parents=True, exist_ok=True)
        (folder / name).mkdir(exist_ok=True)
        if not (folder / name / "cache").exists():
            (folder / name / "cache").symlink_to(Path("..") / "cache")
        seeded = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=seed))
        places[name] = Place.prepare(seeded, folder / name)
    return places


def _refuse_other_folder(folder: Path) -> None:
    if folder.is_file():
        raise BadInput(f"{folder}: is a file; {arg('out')} names a directory.")
    if folder.is_dir() and (folder / FILE_NAME).is_file():
        raise BadInput(f"{folder}: is a run; a comparison needs a folder of its own.")
    if folder.is_dir() and any(not path.name.startswith(_OURS) for path in folder.iterdir()):
        raise BadInput(f"{folder}: holds files that are no comparison. Choose an empty or new directory.")


def _refuse_unfit(arms: Sequence[Arm], place: Place, recipe: Recipe, share: float) -> None:
    """Check first everything that would otherwise fail only after hours."""
    if recipe.expert.is_auto:
        raise BadInput(
            '[expert] leaves layers to be measured ("auto:N"), and they depend on the plan. Name them to compare plans.'
        )
    if recipe.expert.vocabulary is not None:
        raise BadInput(
            f"[expert] vocabulary = {recipe.expert.vocabulary!r} gives experts pieces of their own, and here a "
            "language brings the same blocks to every plan. Leave it out to compare plans."
        )
    if recipe.expert.replay:
        raise BadInput(
            f"[expert] replay = {recipe.expert.replay} mixes other languages into every expert, so an expert is no "
            "longer its cluster's. Compare plans without it, with replay = 0."
        )
    blocks_of_budget(place.recipe.train, place.num_blocks, place.sequence_length)
    if any(arm.needs_effects for arm in arms):
        plan_branches(place, share)
    make_plans([arm for arm in arms if not arm.needs_effects], place, recipe, None)
    if silent := [code for code, found in place.documents("test", place.codes).items() if not found]:
        raise BadInput(f"no test text of {', '.join(silent)}, so its gain cannot be measured. Add text.")


def _do_seed(
    folder: Path,
    places: Mapping[str, Place],
    name: str,
    arms: Sequence[Arm],
    recipe: Recipe,
    share: float,
    launch: Launch,
) -> SeedResult:
    place = places[name]
    needed = any(arm.needs_effects for arm in arms)
    effects = measure_in(place, folder, name, share, launch, for_plan=True) if needed else None
    plans = make_plans(arms, place, recipe, effects)
    paid = effects.tokens if effects else 0
    trials = {arm.name: trials_of(place, plans[arm.name], paid if arm.name == "measured" else 0) for arm in arms}
    dense = trial_of(place, place.codes)
    wanted = [dense, *(trial for own in trials.values() for trial in own)]
    wanted.sort(key=lambda trial: -sum(trial.blocks))
    do_tasks(folder, places, [Task(name, trial) for trial in wanted], launch)
    scores = {arm: {k: v for trial in own for k, v in score_trial(place, trial).items()} for arm, own in trials.items()}
    length = place.sequence_length
    return SeedResult(
        plans,
        scores,
        score_trial(place, dense),
        score_base(place, "test", place.codes),
        num_bytes(place, "test", place.codes),
        {arm: sum(sum(trial.blocks) for trial in own) * length for arm, own in trials.items()},
        {arm.name: paid if arm.name == "measured" else 0 for arm in arms},
        effects,
    )


def trials_of(place: Place, plan: ClusterPlan, paid_tokens: int = 0) -> list[Trial]:
    """The trainings of a plan's experts.

    Args:
        place: The place of the trainings.
        plan: The plan.
        paid_tokens: Tokens spent on finding the plan, which its experts do not get.
    """
    fraction = 1 - paid_tokens / place.recipe.train.tokens
    return [trial_of(place, codes, fraction) for codes in plan.clusters.values()]


def trial_of(place: Place, codes: Sequence[str], fraction: float = 1.0) -> Trial:
    """The training of one expert, or of dense if all languages are given."""
    blocks = blocks_of_budget(place.recipe.train, place.num_blocks, place.sequence_length, fraction=fraction)
    mine = tuple(sorted(codes))
    return Trial(mine, tuple(blocks[code] for code in mine), place.recipe.train.batch_size, "test", mine)


def _comparison(
    places: Sequence[Place], recipe: Recipe, arms: Sequence[Arm], results: Sequence[SeedResult]
) -> PlanComparison:
    place = places[0]
    gains = Gains({arm.name: [r.arms[arm.name] for r in results] for arm in arms}, [r.dense for r in results])
    found = [_arm_result(arm, arms, gains, results) for arm in arms]
    together, by_seed = _correlations(found)
    dense = trial_of(place, place.codes)
    return PlanComparison(
        place.codes,
        [p.recipe.train.seed for p in places],
        place.recipe.expert.kind,
        sum(dense.blocks) * place.sequence_length,
        found,
        [{"base": _bits(r.base, r.bytes), "dense": _bits(r.dense, r.bytes)} for r in results],
        together,
        by_seed,
        {"recipe": json.loads(json.dumps(portable_recipe(recipe))), "packages": package_versions()},
    )


def _arm_result(arm: Arm, arms: Sequence[Arm], gains: Gains, results: Sequence[SeedResult]) -> ArmResult:
    from clustering.plans.measured import predicted_cost

    table = gains.of(arm.name)
    by_language = dict(zip(gains.codes, table.mean(axis=0).tolist(), strict=True))
    rivals = [other.name for other in arms if other.random_number is not None and other.name != arm.name]
    names = [other.name for other in arms]
    return ArmResult(
        plan=arm.name,
        clusters=[r.plans[arm.name].clusters for r in results],
        tokens=[r.tokens[arm.name] for r in results],
        measuring_tokens=[r.measuring_tokens[arm.name] for r in results],
        won=int((table.mean(axis=0) > 0).sum()),
        won_by_seed=(table > 0).sum(axis=1).tolist(),
        mean_gain=gains.mean([arm.name]),
        gain_by_seed=table.mean(axis=1).tolist(),
        gain_by_language=by_language,
        worst=min(by_language, key=by_language.__getitem__),
        against_random=gains.difference(arm.name, rivals) if rivals else None,
        against_typological=gains.difference(arm.name, ["typological"])
        if "typological" in names and arm.name != "typological"
        else None,
        predicted_cost=[predicted_cost(r.plans[arm.name], r.effects) for r in results if r.effects] or None,
    )


def _correlations(found: Sequence[ArmResult]) -> tuple[Estimate | None, list[float | None]]:
    """Spearman over the plans whose number of clusters most plans have, in the mean and by seed."""
    known = [arm for arm in found if arm.predicted_cost]
    if not known:
        return None, []
    ks = [arm.k for arm in known]
    alike = [arm for arm in known if arm.k == max(set(ks), key=ks.count)]
    costs = np.array([arm.predicted_cost for arm in alike])
    gains = np.array([arm.gain_by_seed for arm in alike])
    by_seed = [rank_correlation(costs[:, seed], gains[:, seed]) for seed in range(costs.shape[1])]
    together = rank_correlation(costs.mean(axis=1), gains.mean(axis=1))
    return together, [value.value if value else None for value in by_seed]


def _bits(nats: Scores, sizes: Scores) -> dict[str, float]:
    return {code: float(nats[code].sum() / np.log(2) / sizes[code].sum()) for code in nats}
