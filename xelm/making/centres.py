"""The centres of a run's text, for `[router] weights = "centres"`: made at the end of a training, grown by `add`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from router.routes.centres import ARRAYS_FILE, INDEX_FILE, TextCentres, load_centres
from xelm.making.plan import MOST_DOCUMENTS, plan_texts
from xelm.making.workspace import Workspace
from xelm.run.folder import RunFolder


def save_centres(workspace: Workspace) -> None:
    """Write the centres into the run's router, or remove those of an earlier recipe if experts are weighed by language.

    They are made from the documents that a plan by text reads.
    """
    recipe, folder = workspace.recipe, RunFolder(workspace.run).router
    if recipe.router.weights != "centres":
        for name in (INDEX_FILE, ARRAYS_FILE):
            (folder / name).unlink(missing_ok=True)
        return
    centres = TextCentres.train(
        plan_texts(workspace.inputs.sources, recipe.data),
        power=recipe.router.centre_power,
        temperature=recipe.router.centre_temperature,
        seed=recipe.train.seed,
    )
    centres.save(folder)


def with_language_in_centres(folder: Path, code: str, texts: Iterable[str]) -> Iterator[str]:
    """Enter an added language into the centres of a router, if it has any.

    Args:
        folder: The router's folder.
        code: The language.
        texts: Its training text.

    Returns:
        All of the text again, for the next reader.
    """
    rest = iter(texts)
    centres = load_centres(folder)
    if centres is None:
        return rest
    first = list(islice(rest, MOST_DOCUMENTS))
    centres.with_language(code, first).save(folder)
    return chain(first, rest)


def without_language_in_centres(folder: Path, code: str) -> None:
    """Undo `with_language_in_centres`."""
    if (centres := load_centres(folder)) is not None:
        centres.without_language(code).save(folder)
