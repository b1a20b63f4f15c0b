"""`train`: from a recipe to a finished run, doing only what is not done yet."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from clustering.errors import BadInput
from clustering.files import atomic_write, sha256_of
from xelm.budget import Budget
from xelm.corpus.store import training_texts
from xelm.experts import BASE, DENSE, ExpertSet
from xelm.manifest import FILE_NAME, Manifest, ModelEntry, package_versions
from xelm.recipe import Recipe
from xelm.stages import finished_entry, make_model
from xelm.workspace import Workspace, locked, portable_recipe

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
) -> ExpertSet:
    """Train a run: base, experts, dense baseline, router; evaluate it; write its report.

    Run again after an interruption it continues: finished models are kept, an unfinished one goes on from its last
    checkpoint, and the result is the same to the bit on CPU.

    Args:
        recipe: A TOML file, or a `Recipe`.
        out: The run directory.
        overrides: `section.key=value`, for a recipe file.
        redo: Make models anew whose recipe, data or parent changed, instead of refusing.
        report: Evaluate and write `report.html` at the end.

    Returns:
        The finished run.

    Raises:
        BadInput: For a recipe, text or run directory that cannot be used.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    run, started_s = Path(out), time.monotonic()
    _refuse_other_folder(run)
    with locked(run):
        _refuse_grown_run(run)
        workspace = Workspace.prepare(recipe, run)
        logger.info("%s\n%s", clusters_text(workspace.plan), workspace.budget.to_text())
        manifest = _begin(workspace)
        _make_models(workspace, manifest, redo)
        _finish(workspace, manifest, report)
    logger.info("run complete in %.0f s: %s", time.monotonic() - started_s, run)
    return ExpertSet.load(run)


def dry_run(
    recipe: str | Path | Recipe, out: str | Path, *, overrides: tuple[str, ...] = ()
) -> tuple[ClusterPlan, Budget]:
    """Read and tokenise everything, share out the budget, train nothing.

    Raises:
        BadInput: As `train` would.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    with locked(Path(out)):
        workspace = Workspace.prepare(recipe, Path(out))
    return workspace.plan, workspace.budget


def _refuse_other_folder(run: Path) -> None:
    if run.is_file():
        raise BadInput(f"{run}: is a file; --out names a directory.")
    ours = ("cache", "work", ".lock", FILE_NAME)
    if run.is_dir() and any(run.iterdir()) and not any((run / name).exists() for name in ours):
        raise BadInput(f"{run}: holds files that are no xelm run. Choose an empty or new directory.")


def _refuse_grown_run(run: Path) -> None:
    if (run / FILE_NAME).is_file() and Manifest.read(run).ledger:
        raise BadInput(
            f"{run}: languages were added to this run; training it again would lose them. Use another --out."
        )


def clusters_text(plan: ClusterPlan) -> str:
    """The clusters with English names, a line each."""
    from clustering import name_of

    lines = [f"{name}: {', '.join(map(name_of, codes))}" for name, codes in plan.clusters.items()]
    return "\n".join(["clusters", *(f"  {line}" for line in lines)])


def _begin(workspace: Workspace) -> Manifest:
    data = {
        code: {
            **asdict(store.counts),
            "sha256": workspace.fingerprints[code],
            "cache": store.heldout_file.parent.name,
        }
        for code, store in sorted(workspace.stores.items())
    }
    manifest = Manifest(portable_recipe(workspace.recipe), data=data, packages=package_versions())
    workspace.plan.save(workspace.run / "plan.json")
    heldout = workspace.run / "eval" / "heldout"
    heldout.mkdir(parents=True, exist_ok=True)
    for code, store in workspace.stores.items():
        with atomic_write(heldout / f"{code}.jsonl") as partial:
            shutil.copyfile(store.heldout_file, partial)
    return manifest


def _make_models(workspace: Workspace, manifest: Manifest, redo: bool) -> None:
    """Make every model; one that fails does not stop the others, and all failures are told at the end."""
    run, failures = workspace.run, dict[str, Exception]()
    manifest.base = make_model(workspace.base_making(), run / "logs" / f"{BASE}.jsonl", redo=redo)
    names = [*workspace.plan.clusters, *([DENSE] if workspace.budget.dense else [])]
    makings = {name: workspace.trained_making(name, manifest.base) for name in names}
    for name, making in makings.items():
        _record(manifest, name, finished_entry(making.folder) or making.entry)
    manifest.write(run)
    for name, making in makings.items():
        try:
            _record(manifest, name, make_model(making, run / "logs" / f"{name}.jsonl", redo=redo))
        except (BadInput, FloatingPointError) as error:
            logger.error("%s failed: %s", name, error)
            failures[name] = error
        manifest.write(run)
    if failures:
        told = "; ".join(f"{name}: {error}" for name, error in failures.items())
        raise BadInput(f"{len(failures)} of {len(names)} models failed, the others are kept. {told}")


def _record(manifest: Manifest, name: str, entry: ModelEntry) -> None:
    if name == DENSE:
        manifest.dense = entry
    else:
        manifest.experts[name] = entry


def _finish(workspace: Workspace, manifest: Manifest, report: bool) -> None:
    """Router, evaluation, report, checksums."""
    from router.combined_identifier import CombinedIdentifier
    from xelm.evaluate import evaluate
    from xelm.report import write_report

    run = workspace.run
    texts = {source.code: training_texts(source, workspace.recipe.data) for source in workspace.sources}
    CombinedIdentifier.train(texts, seed=workspace.recipe.train.seed).save(run / "router")
    manifest.write(run)
    if report:
        manifest.metrics = evaluate(ExpertSet.load(run))
        manifest.write(run)
        write_report(ExpertSet.load(run))
    manifest.refresh_files(run)
    manifest.write(run)
    shutil.rmtree(run / "work", ignore_errors=True)


def rewrite_report(run: str | Path) -> Path:
    """Write `report.html` of a run again and its checksum with it.

    Returns:
        The report's path.
    """
    from xelm.report import write_report

    folder = Path(run)
    ExpertSet.load(folder)
    with locked(folder):
        path = write_report(ExpertSet.load(folder))
        manifest = Manifest.read(folder)
        manifest.files[path.name] = sha256_of(path)
        manifest.write(folder)
    return path
