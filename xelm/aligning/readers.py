"""The models whose vectors are compared: one model, or those of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clustering.languages.codes import match
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE, DENSE
from xelm.run.records.manifest import FILE_NAME
from xelm.transferring.bases.base import ONLY, ModelBase, SingleModel
from xelm.transferring.bases.run import RunBase
from xelm.transferring.recipe import TaskBase


@dataclass(frozen=True)
class Reader:
    """A model, and the languages whose pairs it reads."""

    name: str
    languages: tuple[str, ...]


def is_run(model: str | Path) -> bool:
    """Whether a folder is a run, and not a model."""
    return (Path(model) / FILE_NAME).is_file()


def open_readers(settings: TaskBase, languages: Sequence[str], expert: str | None) -> tuple[ModelBase, list[Reader]]:
    """The models that read the pairs.

    Of a run these are the base, the dense baseline, and of each language the expert that owns it; or the base and one
    named model.

    Args:
        settings: Model or run, and how states become vectors.
        languages: Languages of the pairs.
        expert: For a run: a model's name, or None.

    Raises:
        BadInput: If there is no such model.
    """
    if settings.run is None:
        return SingleModel(settings), [Reader(ONLY, tuple(languages))]
    base = RunBase(settings)
    return base, _of_run(base.experts, languages, expert)


def _of_run(experts: ExpertSet, languages: Sequence[str], expert: str | None) -> list[Reader]:
    every = tuple(languages)
    if expert is not None:
        experts.folder(expert)  # refuses an unknown one
        return [Reader(name, every) for name in dict.fromkeys((BASE, expert))]
    owned: dict[str, list[str]] = {}
    for code in languages:
        if (name := owner(experts, code)) is not None:
            owned.setdefault(name, []).append(code)
    whole = [Reader(name, every) for name in (BASE, DENSE) if name in experts.models]
    return [*whole, *(Reader(name, tuple(owned[name])) for name in experts.names if name in owned)]


def owner(experts: ExpertSet, code: str) -> str | None:
    """The expert that has a language in its cluster; None if no expert has."""
    there = match(code, experts.languages)
    return experts.plan.cluster_of(there) if there else None
