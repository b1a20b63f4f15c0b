"""Enter a language into a finished run, or take it out; the files of the other experts are never opened to write.

When the first language is added, all files that will be derived again (plan, router, tables, report, manifest) are kept
under `previous/run/`. When the last added language is removed, those files come back: the run is then as it was at the
start, to the byte, whatever machine or version did the work in between.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from clustering import ClusterPlan
from clustering.errors import BadInput
from router.identify.stored import load_identifier
from router.routes.relatives import Relatives
from xelm.evaluation.groups import save_groups
from xelm.evaluation.learned import evaluate_and_learn
from xelm.making.centres import with_language_in_centres, without_language_in_centres
from xelm.run.experts import ExpertSet
from xelm.run.folder import RunFolder, is_derived
from xelm.run.records.ledger import LedgerEntry
from xelm.run.records.manifest import FILE_NAME, Manifest, ModelEntry, kept_files


def put_language(shadow: Path, entry: LedgerEntry, texts: Iterable[str], seed: int) -> None:
    """Enter an added language into plan, router and ledger of a run that already holds its model and held-out text.

    Args:
        shadow: The run, as given by `xelm.run.transaction.edited`.
        entry: The language's line of the ledger.
        texts: Training text of the language, for the identifier.
        seed: Seed of the identifier's sample.
    """
    manifest = Manifest.read(shadow)
    manifest.ledger.append(entry)
    _write_plan(shadow, manifest.ledger)
    router = RunFolder(shadow).router
    texts = with_language_in_centres(router, entry.language, texts)
    identifier = load_identifier(router)
    identifier.with_language(entry.language, texts, seed=seed).save(router)
    manifest.write(shadow)
    save_groups(shadow, Relatives.load(router))


def take_language(shadow: Path, language: str) -> None:
    """Undo `put_language`, after `take_model`, and seal the run."""
    manifest = Manifest.read(shadow)
    manifest.ledger = [entry for entry in manifest.ledger if entry.language != language]
    RunFolder(shadow).heldout(language).unlink()
    if not manifest.ledger:
        _bring_back_first(shadow)
        return
    del manifest.data[language]
    _write_plan(shadow, manifest.ledger)
    router = RunFolder(shadow).router
    load_identifier(router).without_language(language).save(router)
    without_language_in_centres(router, language)
    manifest.write(shadow)
    save_groups(shadow, Relatives.load(router).with_prior(language, 0.0))
    seal(shadow)


def keep_first(shadow: Path) -> None:
    """Keep the derived files as they were before the first addition; do nothing if they are kept already."""
    kept = RunFolder(shadow).first
    if kept.is_dir():
        return
    for name in (*_derived(shadow), FILE_NAME):
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shadow / name, kept / name)


def seal(
    shadow: Path,
    complete: Callable[[ExpertSet, Manifest], None] = lambda experts, manifest: None,
    repair: Callable[[ExpertSet], bool] | None = None,
) -> None:
    """Evaluate the changed run, write its report and compute every checksum.

    Args:
        shadow: The run.
        repair: See `evaluate_and_learn`.
        complete: Called with the evaluated run; enters into its manifest what is known only after evaluation.
    """
    from xelm.report import write_report

    result = evaluate_and_learn(shadow, repair)
    manifest = Manifest.read(shadow)
    manifest.metrics = result.headline() if result else {}
    complete(ExpertSet.load(shadow), manifest)
    manifest.write(shadow)
    write_report(ExpertSet.load(shadow))
    manifest.refresh_files(shadow)
    manifest.write(shadow)


def put_model(shadow: Path, made: Path, name: str, entry: ModelEntry) -> None:
    """Put a finished model into the run as expert `name`; an earlier expert of that name is kept under `previous/`."""
    files, manifest = RunFolder(shadow), Manifest.read(shadow)
    target = files.model(name)
    if target.exists():
        _move(target, files.previous(name, files.num_versions(name) + 1))
    shutil.copytree(made, target)
    manifest.experts[name] = entry
    manifest.write(shadow)


def take_model(shadow: Path, name: str) -> None:
    """Undo `put_model`."""
    from xelm.making.make_model import finished_entry

    files, manifest = RunFolder(shadow), Manifest.read(shadow)
    target = files.model(name)
    previous = files.previous(name, files.num_versions(name))
    shutil.rmtree(target)
    if previous.is_dir():
        _move(previous, target)
        entry = finished_entry(target)
        if entry is None:
            raise BadInput(f"{previous}: the earlier version of {name} is not complete.")
        manifest.experts[name] = entry
    else:
        del manifest.experts[name]
    manifest.write(shadow)


def _derived(run: Path) -> list[str]:
    return [name for name in kept_files(run) if is_derived(name)]


def _bring_back_first(shadow: Path) -> None:
    kept = RunFolder(shadow).first
    for name in _derived(shadow):
        (shadow / name).unlink()
    for name in kept_files(kept):
        _move(kept / name, shadow / name)
    _move(kept / FILE_NAME, shadow / FILE_NAME)
    shutil.rmtree(kept)


def _write_plan(shadow: Path, ledger: list[LedgerEntry]) -> None:
    # Always start from the first plan: languages can then be removed in any order.
    files = RunFolder(shadow)
    plan = ClusterPlan.load(RunFolder(files.first).plan)
    for entry in ledger:
        plan = plan.with_language(entry.language, entry.expert, new=entry.kind == "new")
    plan.save(files.plan)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
