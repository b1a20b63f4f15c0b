"""Open the base of a recipe."""

from __future__ import annotations

from xelm.transferring.bases.base import Features, ModelBase, SingleModel
from xelm.transferring.bases.run import RunBase
from xelm.transferring.data.taskdata import Rowset
from xelm.transferring.recipe import TaskBase


def open_base(settings: TaskBase, rowset: Rowset) -> ModelBase:
    """The models of a run, one model, or features that need none.

    Raises:
        BadInput: If there is no such run or model.
    """
    if settings.run:
        return RunBase(settings, rowset)
    return SingleModel(settings) if settings.model else Features(settings)
