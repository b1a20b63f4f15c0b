"""`measure_effects`: a short branch of each language from the base, and its effect on every other language."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clustering.errors import BadInput, arg
from clustering.files import read_json
from clustering.plans.effects import Effects, Probe
from xelm.launch.options import Launch
from xelm.measuring.branches import DEFAULT_SHARE, Branches, plan_branches
from xelm.measuring.updates import compare_updates
from xelm.recipe.recipe import Recipe
from xelm.run.failures import disk_failure_reported
from xelm.run.lock import locked
from xelm.run.names import BASE
from xelm.run.records.manifest import fingerprint, package_versions
from xelm.trials.place import Place
from xelm.trials.scores import Scores, num_bytes, score_base, score_trial
from xelm.trials.tasks import Task
from xelm.trials.work import do_tasks

_HERE = "."
logger = logging.getLogger(__name__)


def measure_effects(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    overrides: tuple[str, ...] = (),
    share: float = DEFAULT_SHARE,
    only: Sequence[str] | None = None,
    run: str | Path | None = None,
    launch: Launch | None = None,
) -> Effects:
    """Measure what training on each language does to every other, and save it.

    From the base a short branch of each language is trained (as the recipe's experts are: full, adapters; causal or
    masked), and the valid text of all languages is read before and after. Called again, it resumes.

    Args:
        recipe: A TOML file, or a `Recipe`; its clusters do not matter.
        out: JSON file for the effects. The work is kept beside it, in `<name>.work/`.
        overrides: Keys of the recipe file to override, as `section.key=value`, such as `train.tokens=1e6`.
        share: Part of `[train] tokens` that the branches of single languages get together; trainings on all languages
            at once, which tell whether to split at all, take the same again.
        only: Languages to train branches of, such as a new one to be placed in a plan. None: all. The
            text of all languages is read.
        run: A run whose base is used, instead of training one, if it was made from the same recipe and text.
        launch: How and on which machines to train; None: on this one.

    Returns:
        The effects.

    Raises:
        BadInput: For a recipe, text or file that cannot be used.
        TrainingFailedError: If a branch could not be made; the others are kept.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    file = Path(out)
    if file.is_dir():
        raise BadInput(f"{file}: is a directory; {arg('out')} names the file of the effects, such as effects.json.")
    folder = file.with_name(f"{file.stem}.work")
    with disk_failure_reported(folder), locked(folder):
        place = Place.prepare(recipe, folder)
        if run:
            place.take_base(Path(run))
        do_tasks(folder, {_HERE: place}, [Task(_HERE, None)], launch or Launch())
        effects = measure_in(place, folder, _HERE, share, launch or Launch(), only)
    effects.save(file)
    return effects


def measure_in(
    place: Place,
    folder: Path,
    name: str,
    share: float,
    launch: Launch,
    only: Sequence[str] | None = None,
    *,
    joint: bool = True,
    for_plan: bool = False,
) -> Effects:
    """Effects in a place whose base is made; measured once, then read from its `effects.json`.

    Args:
        place: The place.
        folder: Common folder of several places.
        name: Name of the place's folder inside it.
        share: Part of the budget.
        launch: Machines.
        only: Languages to train branches of; None: all.
        joint: Whether to train on all of them together too.
        for_plan: Whether only a plan is to be made of them (`xelm.measuring.branches`).
    """
    branches = plan_branches(place, share, only, joint=joint, for_plan=for_plan)
    file, key = place.folder / "effects.json", _key(place, branches)
    if file.is_file() and read_json(file).get("about", {}).get("fingerprint") == key:
        return Effects.load(file)
    logger.info("measuring: %s tokens in %d branches", f"{branches.total:,}", len(branches.all()))
    do_tasks(folder, {name: place}, [Task(name, trial) for trial in branches.all()], launch)
    effects = _effects(place, branches, key)
    effects.save(file)
    for trial in branches.all():
        shutil.rmtree(place.making(trial).folder, ignore_errors=True)
    return effects


def _key(place: Place, branches: Branches) -> str:
    made = [place.making(trial).entry.fingerprint for trial in branches.all()]
    texts = {code: [d.text for d in found] for code, found in place.documents("valid", place.codes).items()}
    return fingerprint(made, texts)


def _effects(place: Place, branches: Branches, key: str) -> Effects:
    codes = place.codes
    before, sizes = score_base(place, "valid", codes), num_bytes(place, "valid", codes)
    if silent := [code for code in codes if not sizes[code].sum()]:
        raise BadInput(f"no valid text of {', '.join(silent)}, so no effect on it can be measured. Add text.")
    folders = [place.making(branches.longer[code]).folder for code in codes if code in branches.longer]
    together = len(folders) == len(codes)
    updates = compare_updates(place.folder / BASE, folders) if together else None
    return Effects(
        tuple(codes),
        _probe(place, branches, "longer", before),
        _probe(place, branches, "shorter", before) if branches.shorter else None,
        bits_before=np.array([before[code].sum() / np.log(2) / sizes[code].sum() for code in codes]),
        cosines=updates.cosines if updates else None,
        layer_cosines=updates.layer_cosines if updates else {},
        layer_sizes=updates.layer_sizes if updates else {},
        budget_tokens=place.recipe.train.tokens,
        about={
            "fingerprint": key,
            "base": place.base.entry.fingerprint,
            "kind": place.recipe.expert.kind,
            "objective": place.recipe.train.objective,
            "documents": {code: len(before[code]) for code in codes},
            "batch_size": next(iter(branches.longer.values())).batch_size,
            "packages": package_versions(),
        },
    )


def _probe(place: Place, branches: Branches, size: Literal["longer", "shorter"], before: Scores) -> Probe:
    codes, trials = place.codes, branches.longer if size == "longer" else branches.shorter
    table = np.full((len(codes), len(codes), 2), np.nan)
    for row, code in enumerate(codes):
        if code in trials:
            after = score_trial(place, trials[code])
            table[row] = [effect(before[read], after[read]) for read in codes]
    joint = None
    if size in branches.together:
        after = score_trial(place, branches.together[size])
        joint = np.array([effect(before[code], after[code])[0] if code in after else np.nan for code in codes])
    return Probe(branches.tokens(trials), table[:, :, 0], table[:, :, 1], joint)


def effect(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Change of the cost of a language's documents, as a share, and its standard error over documents.

    Args:
        before: Nats of each of D documents under the base.
        after: The same after training.

    Returns:
        `after / before - 1` of the sums, and the error of that ratio (linearised); NaN for one document.
    """
    ratio, number = after.sum() / before.sum(), len(before)
    if number < 2:
        return float(ratio - 1), float("nan")
    residuals = after - ratio * before
    return float(ratio - 1), float(np.sqrt(number / (number - 1) * (residuals**2).sum()) / before.sum())


@dataclass(frozen=True)
class MeasuringBill:
    """The tokens that measuring would take."""

    base_tokens: int
    """Tokens of the base's training, which `xelm train` needs too; 0 if the base is only copied."""
    tokens: int
    budget_tokens: int
    branch_tokens: dict[str, list[int]]
    """Language -> tokens of its longer and its shorter branch."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Lines for the terminal."""
        share = 100 * self.tokens / self.budget_tokens
        lines = [
            f"{code}: {' and '.join(f'{n:,}' for n in sizes)} tokens" for code, sizes in self.branch_tokens.items()
        ]
        lines.append(f"measuring: {self.tokens:,} tokens, {share:.1f} % of [train] tokens = {self.budget_tokens:,}")
        if self.base_tokens:
            lines.append(f"before that the base is trained on {self.base_tokens:,} tokens, as `xelm train` does")
        return "\n".join(lines)


def measuring_bill(
    recipe: str | Path | Recipe, *, overrides: tuple[str, ...] = (), share: float = DEFAULT_SHARE
) -> MeasuringBill:
    """Read everything and count the tokens that measuring takes; nothing is left behind.

    Raises:
        BadInput: As `measure_effects` would.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    with tempfile.TemporaryDirectory() as scratch:
        place = Place.prepare(recipe, Path(scratch))
        return bill_of(place, plan_branches(place, share))


def bill_of(place: Place, branches: Branches) -> MeasuringBill:
    """The bill of planned branches."""
    base = place.workspace.budget.base
    longer, shorter = branches.tokens(branches.longer), branches.tokens(branches.shorter)
    sizes = {code: [longer[code], *([shorter[code]] if code in shorter else [])] for code in longer}
    return MeasuringBill(base.tokens if base else 0, branches.total, place.recipe.train.tokens, sizes)
