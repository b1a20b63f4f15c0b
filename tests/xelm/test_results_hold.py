"""The same recipe gives what version 0.1 (b3b3713) gave: plan, weights, evaluation, routes.

The stored run was made on one machine and is made again on another: floats may differ in their last digits there, so
weights and figures are compared to 1e-4. On one machine they are equal to the bit.
"""

from __future__ import annotations

import pytest
import torch

from clustering.files import read_json
from tests.xelm.stored_runs import unpack
from xelm.making.train import train
from xelm.run.experts import ExpertSet


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExpertSet, ExpertSet]:
    """The stored run, and one made now by its recipe."""
    folder = unpack(tmp_path_factory.mktemp("stored"))
    return ExpertSet.load(folder / "first"), train(folder / "recipe.toml", folder / "again", report=True)


def test_the_plan_is_the_same(runs: tuple[ExpertSet, ExpertSet]) -> None:
    then, now = runs
    assert now.plan.clusters == then.plan.clusters
    assert now.plan.distances is not None and then.plan.distances is not None
    assert now.plan.distances.values == pytest.approx(then.plan.distances.values, abs=1e-12)


def test_the_weights_are_the_same(runs: tuple[ExpertSet, ExpertSet]) -> None:
    then, now = runs
    assert now.models == then.models
    for name in then.models:
        before, after = then.load_model(name).state_dict(), now.load_model(name).state_dict()
        assert before.keys() == after.keys()
        for key, tensor in before.items():
            torch.testing.assert_close(after[key], tensor, atol=1e-4, rtol=0)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_evaluation_is_the_same(runs: tuple[ExpertSet, ExpertSet], split: str) -> None:
    then, now = (read_json(experts.path / "eval" / f"{split}.json") for experts in runs)
    # What 0.1 called routed was routed by the whole text.
    for table, its_name_now in (("models", "models"), ("routed", "routed_by_text")):
        assert then[table].keys() == now.get(its_name_now, {}).keys()
        for name, cells in then[table].items():
            for code, cell in cells.items():
                assert now[its_name_now][name][code] == pytest.approx(cell, rel=1e-4), (split, table, name, code)
