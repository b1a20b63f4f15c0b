"""`train`: from a recipe to a finished run, doing only what is not done yet."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from clustering.errors import BadInput, arg
from clustering.files import atomic_write, expanded, sha256_of
from xelm.launch.attempt import attempt
from xelm.launch.local import num_workers, run_workers
from xelm.launch.options import Launch
from xelm.launch.slurm import run_jobs
from xelm.launch.work import FINISH, Work
from xelm.making.again.redo import clear_other_inputs
from xelm.making.again.unchanged import is_complete
from xelm.making.budgets.budget import Budget
from xelm.making.finish import finish
from xelm.making.make_model import Making, finished_entry, is_made
from xelm.making.portable import portable_recipe
from xelm.making.workspace import Workspace
from xelm.measuring.for_run import stand_in, with_effects
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.run.failures import Failure, disk_failure_reported, raise_failures
from xelm.run.folder import RunFolder
from xelm.run.lock import locked
from xelm.run.names import BASE, is_base
from xelm.run.records.manifest import FILE_NAME, Manifest, package_versions
from xelm.run.transaction import edited

if TYPE_CHECKING:
    from clustering import ClusterPlan

logger = logging.getLogger(__name__)


def train(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    overrides: tuple[str, ...] = (),
    redo: bool = False,
    report: bool = True,
    launch: Launch | None = None,
) -> ExpertSet:
    """Train a run: base, experts, dense baseline, router; evaluate it; write its report.

    Called again after an interruption, it continues: finished models are kept, an unfinished one resumes from its last
    checkpoint, and the result is the same to the bit on CPU.

    Args:
        recipe: A TOML file, or a `Recipe`.
        out: The run directory.
        overrides: Keys of the recipe file to override, as `section.key=value`, such as `train.seed=1`.
        redo: Retrain models whose recipe, data or parent model changed, instead of refusing.
        report: Evaluate and write `report.html` at the end.
        launch: How and on which machines to train; None: on this one.

    Returns:
        The finished run.

    Raises:
        BadInput: For a recipe, text or run directory that cannot be used.
        TrainingFailedError: If some models could not be made; the others are finished and kept.
        OSError: If the disk is full or read-only.
    """
    launch = launch or Launch()
    written = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe, overrides)
    recipe = written if isinstance(recipe, Recipe) else written.anchored(expanded(recipe).resolve().parent)
    run, started_s = expanded(out), time.monotonic()
    _refuse_other_folder(run)
    with disk_failure_reported(run), locked(run):
        _refuse_grown_run(run)
        recipe = with_effects(recipe, run, launch)
        workspace = Workspace.prepare(recipe, run)
        logger.info("%s\n%s", clusters_text(workspace.plan), workspace.budget.to_text())
        clear_other_inputs(workspace, redo=redo)
        for warning in workspace.duplicates().warnings():
            logger.warning("%s", warning)
        manifest = _manifest(workspace, dataclasses.replace(written, expert=workspace.recipe.expert))
        if is_complete(workspace, manifest, report=report):
            logger.info("nothing to do: every model of %s is finished", run)
            return ExpertSet.load(run)
        _begin(workspace)
        work = Work(run, workspace.recipe, redo, report, launch.together, launch.fsdp)
        _make_models(workspace, manifest, work, launch)
        _finish(workspace, work, launch)
    logger.info("run complete in %.0f s: %s", time.monotonic() - started_s, run)
    return ExpertSet.load(run)


def dry_run(
    recipe: str | Path | Recipe, out: str | Path, *, overrides: tuple[str, ...] = (), probe: bool = False
) -> tuple[ClusterPlan, Budget]:
    """Read and tokenise everything and share out the budget, but train nothing. Also check how the tokenizer serves
    each language, and whether any text is in two splits or languages.

    Args:
        recipe: A TOML file, or a `Recipe`.
        out: The run directory, where the tokenised text stays.
        overrides: Keys of the recipe file to override, as `section.key=value`, such as `train.seed=1`.
        probe: Also measure a few steps, to estimate how many hours the training takes on a device like this one.

    Returns:
        The plan; and the budget with its warnings: tokens, steps, epochs, memory and disk (`.to_text()`).

    Raises:
        BadInput: As `train` would.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    run = expanded(out)
    _refuse_other_folder(run)
    with disk_failure_reported(run), locked(run):
        recipe, measuring = stand_in(recipe, run)
        workspace = Workspace.prepare(recipe, run)
        found = [*_tokenizer_warnings(workspace), *workspace.duplicates().warnings()]
        budget = dataclasses.replace(workspace.budget, warnings=[*measuring, *workspace.budget.warnings, *found])
        if probe:
            from xelm.making.budgets.probe import measure_speed

            budget = dataclasses.replace(budget, speed=measure_speed(workspace))
    return workspace.plan, budget


def _tokenizer_warnings(workspace: Workspace) -> list[str]:
    new = workspace.recipe.base.new
    bytewise = new is not None and new.tokenizer == "byte"  # single bytes serve all languages equally
    own = {code for name in workspace.own for code in workspace.plan.clusters[name]}
    return [] if bytewise else workspace.inputs.tokenizer_warnings(own)


def _refuse_other_folder(run: Path) -> None:
    if run.is_file():
        raise BadInput(f"{run}: is a file; {arg('out')} names a directory.")
    ours = ("cache", "work", ".lock", FILE_NAME)
    if run.is_dir() and any(run.iterdir()) and not any((run / name).exists() for name in ours):
        raise BadInput(f"{run}: holds files that are no xelm run. Choose an empty or new directory.")


def _refuse_grown_run(run: Path) -> None:
    if (run / FILE_NAME).is_file() and Manifest.read(run).ledger:
        raise BadInput(
            f"{run}: languages were added to this run; training it again would lose them. Use another {arg('out')}."
        )


def clusters_text(plan: ClusterPlan) -> str:
    """The clusters with English names, a line each."""
    from clustering import name_of

    lines = [f"{name}: {', '.join(map(name_of, codes))}" for name, codes in plan.clusters.items()]
    return "\n".join(["clusters", *(f"  {line}" for line in lines)])


def _manifest(workspace: Workspace, written: Recipe) -> Manifest:
    """What the run's manifest says of its text and of its models, as far as they are finished."""
    data = {
        code: {
            **dataclasses.asdict(store.counts),
            "sha256": workspace.inputs.fingerprints[code],
            "cache": store.heldout_file.parent.name,
            **workspace.read_apart(code),
        }
        for code, store in sorted(workspace.inputs.stores.items())
    }
    manifest = Manifest(portable_recipe(written), data=data, packages=package_versions())
    _enter(manifest, workspace.makings.all())
    return manifest


def _begin(workspace: Workspace) -> None:
    files = RunFolder(workspace.run)
    workspace.plan.save(files.plan)
    for code, store in workspace.inputs.stores.items():
        with atomic_write(files.heldout(code)) as partial:
            shutil.copyfile(store.heldout_file, partial)


def _make_models(workspace: Workspace, manifest: Manifest, work: Work, launch: Launch) -> None:
    """Make every model; one that fails does not stop the others, and all failures are reported at the end."""
    run, makings = workspace.run, workspace.makings.all()
    _record(run, manifest, makings)
    failures = _make(workspace, makings, [BASE], work, launch)
    if not failures:
        failures = _make(workspace, makings, [name for name in makings if not is_base(name)], work, launch)
    _record(run, manifest, makings)
    if failures:
        raise_failures(failures, len(makings))


def _make(
    workspace: Workspace, makings: dict[str, Making], names: list[str], work: Work, launch: Launch
) -> dict[str, Failure]:
    missing = [name for name in names if not is_made(makings[name])]
    apart = [name for name in missing if makings[name].stage]
    if launch.launcher == "slurm" and apart:
        failures = run_jobs(work.write(), apart, launch)
    elif apart and (launch.processes > 1 or num_workers(launch) > 1):
        failures = run_workers(work.write(), apart, launch)
    else:
        apart, failures = [], {}
    for name in missing:
        if name not in apart and (failure := attempt(workspace.run, name, makings[name], redo=work.redo)):
            failures[name] = failure
    # A cancelled job may train on until Slurm kills it, and be finished by then.
    return {name: failure for name, failure in failures.items() if not is_made(makings[name])}


def _record(run: Path, manifest: Manifest, makings: dict[str, Making]) -> None:
    _enter(manifest, makings)
    manifest.write(run)


def _enter(manifest: Manifest, makings: dict[str, Making]) -> None:
    for name, making in makings.items():
        entry = finished_entry(making.folder) if is_made(making) else None
        manifest.put(name, entry.recorded_as(making.planned) if entry else making.planned)


def _finish(workspace: Workspace, work: Work, launch: Launch) -> None:
    if launch.launcher == "slurm":
        # Evaluation needs a GPU as much as training does.
        failures = run_jobs(work.write(), [FINISH], launch.for_one_process())
        if failures:
            raise_failures(failures, 1)
    else:
        finish(workspace, report=work.report)
    shutil.rmtree(workspace.run / "work", ignore_errors=True)


def rewrite_report(run: str | Path) -> Path:
    """Write `report.html` of a run again, and its checksum and that of the samples it shows with it.

    Returns:
        The report's path.
    """
    from xelm.report import write_report

    folder = expanded(run)
    ExpertSet.load(folder)
    with locked(folder), edited(folder) as shadow:
        experts = ExpertSet.load(shadow)
        write_report(experts)
        manifest = experts.manifest
        for file in (experts.files.report, experts.files.samples, experts.files.comparison):
            if file.is_file():
                manifest.files[file.relative_to(shadow).as_posix()] = sha256_of(file)
        manifest.files = dict(sorted(manifest.files.items()))
        manifest.write(shadow)
    return RunFolder(folder).report
