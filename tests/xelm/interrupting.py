"""A run that is interrupted in the middle of a training, and done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from xelm.making.train import train
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.training import loop


def assert_interruption_leaves_no_trace(recipe: Recipe, folder: Path, *, step: int) -> ExpertSet:
    """Train undisturbed, and interrupted before the given step of all steps and again: the weights are the same.

    Returns:
        The run that was interrupted.
    """
    whole = train(recipe, folder / "whole", report=False)
    taken, take = [0], loop._Training._take_step

    def interrupted(*args: Any) -> Any:
        taken[0] += 1
        if taken[0] == step:
            raise KeyboardInterrupt
        return take(*args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop._Training, "_take_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, folder / "run", report=False)
    checkpoints = list((folder / "run" / "work").glob("*/*"))
    assert checkpoints, "it was interrupted before the first checkpoint"
    again = train(recipe, folder / "run", report=False)
    for name in ("base", *whole.names):
        for key, value in whole.load_model(name).state_dict().items():
            assert torch.equal(value, again.load_model(name).state_dict()[key]), (name, key)
    return again
