"""Layers that a recipe leaves to be measured: chosen by the updates of short branches, recorded, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xelm
from clustering.errors import BadInput
from clustering.plans.effects import Effects
from tests.xelm.adding import contents, new_text, train_tiny
from tests.xelm.conftest import make_corpus, tiny_table
from tests.xelm.training_parts import tiny_llama
from xelm.adding.add import add_language
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.train import dry_run, train
from xelm.measuring.layers import layer_differences, layer_moves
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet

BASE = {"new": {"tokenizer": "byte", "hidden_size": 16, "num_layers": 3, "num_heads": 2, "context_length": 32}}
BASE["new"] |= {"tokens": 1600, "learning_rate": 5e-3}  # type: ignore[dict-item]
LONG = {"tokens": 7680, "batch_size": 4, "learning_rate": 5e-3}


def _effects(**layers: Any) -> Effects:
    codes = ("deu", "nld", "rus")
    return Effects.of(codes, np.zeros((3, 3)), **layers)


def test_differences_are_distances_of_updates_between_clusters() -> None:
    """Against the updates themselves: vectors of two layers, of which one moves all languages the same way."""
    rng = np.random.default_rng(0)
    same, updates = rng.normal(size=6), rng.normal(size=(3, 6))
    vectors = {"0": np.stack([same, same, same]), "1": updates}
    cosines = {
        layer: (v @ v.T) / np.outer(np.linalg.norm(v, axis=1), np.linalg.norm(v, axis=1))
        for layer, v in vectors.items()
    }
    sizes = {layer: np.linalg.norm(v, axis=1) / 2.0 for layer, v in vectors.items()}
    effects = _effects(layer_cosines=cosines, layer_sizes=sizes)
    found = layer_differences(effects, {"c1": ["deu", "nld"], "c2": ["rus"]})
    pairs = [np.linalg.norm(updates[i] - updates[2]) / 2.0 for i in (0, 1)]
    assert found["1"] == pytest.approx(np.mean(pairs))
    assert found["0"] == pytest.approx(0.0, abs=1e-6)
    assert layer_moves(effects)["0"] == pytest.approx(np.linalg.norm(same) / 2.0)
    assert layer_differences(effects, {"all": ["deu", "nld", "rus"]}) == layer_moves(effects)


def test_effects_keep_the_sizes_of_updates_in_their_file(tmp_path: Path) -> None:
    sizes = {"embedding": np.array([0.1, 0.2, 1 / 3]), "0": np.array([1e-9, 0.5, 2.0])}
    effects = _effects(layer_sizes=sizes, layer_cosines={key: np.eye(3) for key in sizes})
    effects.save(tmp_path / "effects.json")
    loaded = Effects.load(tmp_path / "effects.json").layer_sizes
    assert list(loaded) == list(sizes) and all((loaded[key] == sizes[key]).all() for key in sizes)
    with pytest.raises(BadInput, match=r"no updates by layer, which \[expert\] asks for: measure"):
        layer_differences(_effects(), {"c1": ["deu"]})


def _recipe(folder: Path, **expert: Any) -> Recipe:
    data = {"path": str(make_corpus(folder / "corpus"))}
    return Recipe.from_dict(tiny_table(data=data, base=BASE, train=LONG, expert=expert))


@pytest.mark.parametrize("method", [pytest.param("ward", marks=pytest.mark.slow), "measured"])
def test_the_layers_of_the_greatest_difference_are_chosen_and_recorded(tmp_path: Path, method: str) -> None:
    run = train_tiny(
        tmp_path, base=BASE, train=LONG, expert={"kind": "layers", "layers": "auto:2"}, clusters={"method": method}
    )
    experts = ExpertSet.load(run)
    effects = Effects.load(experts.files.effects)
    differences = layer_differences(effects, experts.plan.clusters)
    numbered = {layer: value for layer, value in differences.items() if layer.isdigit()}
    expected = sorted(int(layer) for layer in sorted(numbered, key=lambda key: -numbered[key])[:2])
    assert list(Recipe.from_dict(experts.manifest.recipe).expert.layers) == expected  # type: ignore[attr-defined]
    assert experts.verify() == []
    assert (effects.probe.joint is None) == (method == "ward"), "whether to split is asked only for a measured plan"
    before = contents(run)
    recipe = _recipe(tmp_path, kind="layers", layers="auto:2")
    train(Recipe.from_dict({**recipe.to_dict(), "clusters": {"k": 2, "method": method}}), run)
    assert contents(run) == before
    grown = add_language(run, "swe", new_text(tmp_path, "swe"), donor="base", tokens=128)
    assert grown.manifest.experts[grown.plan.cluster_of("swe")].kind == "layers"


def test_what_moves_least_is_frozen(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, base=BASE, train=LONG, expert={"freeze": "auto:2"})
    experts = ExpertSet.load(run)
    moves = layer_moves(Effects.load(experts.files.effects))
    frozen = Recipe.from_dict(experts.manifest.recipe).expert.freeze
    assert set(frozen) == set(sorted(moves, key=lambda layer: moves[layer])[:2])
    import torch

    base, expert = (dict(experts.load_model(name).named_parameters()) for name in ("base", experts.names[0]))
    from xelm.models.layer_groups import layer_of

    changed = {layer_of(name) for name in base if not torch.equal(base[name], expert[name])}
    assert changed == set(moves) - set(frozen)


def test_auto_without_a_number_freezes_half_of_the_parts_and_never_all() -> None:
    moves = {"embedding": 0.5, "0": 0.1, "1": 0.3, "2": 0.2, "other": 0.4}
    assert ExpertKind.of(freeze="auto").settled(moves, moves) == {"freeze": ("0", "2")}
    with pytest.raises(BadInput, match="but there are 5 parts: name fewer"):
        ExpertKind.of(freeze="auto:5").settled(moves, moves)


def test_a_dry_run_tells_what_measuring_costs_and_trains_nothing(tmp_path: Path) -> None:
    budget = dry_run(_recipe(tmp_path, kind="layers", layers="auto:2"), tmp_path / "run")[1]
    text = budget.to_text()
    assert "measuring takes" in text and "layers of [expert] are chosen after measuring" in text
    assert not (tmp_path / "run" / "base").exists()


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        ({"kind": "layers", "layers": "auto"}, r'layers = "auto": write "auto:N"'),
        ({"kind": "layers", "layers": "auto:0"}, r'layers = "auto:0": write "auto:N"'),
        ({"freeze": "automatic:3"}, r'freeze = "automatic:3": write "auto:N"'),
        ({"kind": "layers", "layers": "auto:9"}, "the model has 3 layers"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_read(
    tmp_path: Path, expert: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        train(_recipe(tmp_path, **expert), tmp_path / "run")


def test_measured_layers_have_to_be_named_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="settled when a run is trained"):
        ExpertKind.of(kind="layers", layers="auto:1").make_trainable(tiny_llama(num_layers=2))
    with pytest.raises(BadInput, match="Name them to compare plans"):
        xelm.compare_plans(_recipe(tmp_path, kind="layers", layers="auto:1"), "typological,one", 1, tmp_path / "out")
