"""`transfer`: teach a task in some languages, answer it in the others, and report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clustering.errors import BadInput, arg
from xelm.launch.options import Launch
from xelm.run.failures import disk_failure_reported
from xelm.run.lock import locked
from xelm.run.records.manifest import FILE_NAME
from xelm.transferring.experiment import Experiment
from xelm.transferring.recipe import TransferRecipe
from xelm.transferring.report.report import TransferReport
from xelm.transferring.report.results import Results
from xelm.transferring.work import teach_all

REPORT = "transfer"
"""Name of the report's files, without ending."""
_OURS = ("features", "answers", "translations", "kept", "work", "logs", f"{REPORT}.", "recipe.toml", ".")
"""Names that begin so may be in its folder; hidden ones are locks, and what a killed process left half written."""
logger = logging.getLogger(__name__)


def transfer(
    recipe: str | Path | TransferRecipe | Mapping[str, Any],
    out: str | Path = "transfer",
    *,
    overrides: tuple[str, ...] = (),
    launch: Launch | None = None,
) -> TransferReport:
    """Teach a task in some languages and answer it in the others, with every technique on the same test rows.

    Run again after an interruption it goes on, with the same report to the bit on CPU.

    Args:
        recipe: A TOML file, a `TransferRecipe`, or its tables (in which `translate` may be a function).
        out: Folder for features, answers, `transfer.json`, `transfer.md` and `transfer.html`.
        overrides: `section.key=value`, for a recipe file.
        launch: How and on which machines to teach; None: in this process.

    Returns:
        The report, which is also written there.

    Raises:
        BadInput: For a recipe, data, a model or a folder that cannot be used.
        TrainingFailedError: If some lessons failed; the others are kept.
    """
    folder, launch = Path(out), launch or Launch()
    chosen = as_recipe(recipe, overrides)
    _refuse_other_folder(folder)
    with disk_failure_reported(folder), locked(folder):
        experiment = Experiment(chosen, folder)
        refuse_nothing(experiment)
        teach_all(experiment, launch)
        report = Results(experiment).report()
        for ending in (".json", ".md", ".html"):
            report.save(folder / f"{REPORT}{ending}")
    return report


def as_recipe(
    recipe: str | Path | TransferRecipe | Mapping[str, Any], overrides: tuple[str, ...] = ()
) -> TransferRecipe:
    """A recipe in any of the forms in which it may be given."""
    if isinstance(recipe, TransferRecipe):
        return recipe
    if isinstance(recipe, Mapping):
        return TransferRecipe.from_dict(recipe)
    return TransferRecipe.load(recipe, overrides)


def refuse_nothing(experiment: Experiment) -> None:
    """Refuse an experiment in which nothing can be measured.

    Raises:
        BadInput: The message holds the first reason.
    """
    if any(cell.target not in cell.languages for cell in experiment.cells):
        return
    reason = f" {experiment.skipped[0].reason}." if experiment.skipped else ""
    raise BadInput(f"no cell of this recipe can be measured: no source teaches any other language.{reason}")


def _refuse_other_folder(folder: Path) -> None:
    if folder.is_file():
        raise BadInput(f"{folder}: is a file; {arg('out')} names a directory.")
    if folder.is_dir() and (folder / FILE_NAME).is_file():
        raise BadInput(f"{folder}: is a run; a transfer needs a folder of its own.")
    if folder.is_dir() and any(not path.name.startswith(_OURS) for path in folder.iterdir()):
        raise BadInput(f"{folder}: holds files that are no transfer. Choose an empty or new directory.")
