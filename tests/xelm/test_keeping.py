"""Keys of `[expert]` that keep an expert near the base while it is trained: anchor, freeze, replay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clustering.errors import BadInput
from tests.xelm.adding import contents, train_tiny
from tests.xelm.training_parts import blocks_of, same_bits, stage_of, tiny_llama, weights_of
from xelm.blending.unread import find_unread
from xelm.comparing.compare import compare_plans
from xelm.expert_kinds.kind import EXPERT_KINDS, ExpertKind
from xelm.making.train import dry_run, train
from xelm.models.layer_groups import layer_of, selects
from xelm.objectives.masked import MaskedBatches
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.training.loop import train_stage
from xelm.training.stage import Stage

RATE = 5e-3


def _trained(folder: Path, *, steps: int = 1, model: Any = None, **stage: Any) -> dict[str, torch.Tensor]:
    model = model or tiny_llama(num_layers=2)
    settings = stage_of(folder, num_steps=steps, schedule="constant", warmup_fraction=0.0)
    train_stage(model, replace(settings, **stage), lambda point: None)
    return weights_of(model)


# Anchor


def test_the_pull_is_a_decay_towards_where_the_weights_started(tmp_path: Path) -> None:
    start = weights_of(tiny_llama(num_layers=2))
    free = _trained(tmp_path / "free")
    held = _trained(tmp_path / "held", anchor={"*": 40.0})
    for name, value in free.items():
        expected = value - RATE * 40.0 * (value - start[name])
        torch.testing.assert_close(held[name], expected, rtol=1e-6, atol=1e-8)
        assert not torch.equal(held[name], value)


def test_the_pull_acts_on_the_named_layers_alone_and_the_last_name_counts(tmp_path: Path) -> None:
    start = weights_of(tiny_llama(num_layers=2))
    held = _trained(tmp_path, steps=3, anchor={"*": 1 / RATE, "0": 0.0, "other": 1.0})
    for name, value in held.items():
        stays = torch.allclose(value, start[name], rtol=0, atol=1e-7)
        assert stays == (layer_of(name) in ("embedding", "1")), name


def test_a_training_with_a_pull_resumes_to_the_bit(tmp_path: Path) -> None:
    whole = _trained(tmp_path / "whole", steps=9, anchor={"*": 3.0})
    _trained(tmp_path / "parts", steps=9, anchor={"*": 3.0}, pause_at=4)
    assert same_bits(_trained(tmp_path / "parts", steps=9, anchor={"*": 3.0}), whole)


def test_adapters_that_are_pulled_all_the_way_leave_the_base_as_it_is(tmp_path: Path) -> None:
    kind = ExpertKind.of(kind="lora", rank=2, anchor=1 / RATE)
    model = kind.make_trainable(tiny_llama(num_layers=2))
    train_stage(
        model, replace(stage_of(tmp_path, num_steps=3, schedule="constant"), anchor=kind.anchors), lambda p: None
    )
    ids = torch.arange(8)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, tiny_llama(num_layers=2)(ids).logits, rtol=0, atol=1e-5)


# Freeze


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        (["embedding"], {"model.embed_tokens.weight"}),
        ("embedding", {"model.embed_tokens.weight"}),
        (["other"], {"model.norm.weight", "lm_head.weight"}),
        (["layers"], "layers."),
        (["1-2"], ("layers.1.", "layers.2.")),
        (["0"], "layers.0."),
        (["*.mlp.*"], ".mlp."),
        (["unread", "0"], "layers.0."),
    ],
)
def test_what_is_named_does_not_train(freeze: list[str] | str, frozen: set[str] | str | tuple[str, ...]) -> None:
    model = ExpertKind.of(freeze=freeze).make_trainable(tiny_llama(num_layers=3))
    still = {name for name, p in model.named_parameters() if not p.requires_grad}
    parts = (frozen,) if isinstance(frozen, str) else frozen
    assert still == {name for name in model.state_dict() if any(part in name for part in parts)} != set()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"freeze": ["3"]}, r'freeze: "3" names no weight .* There are embedding, 0, 1, other'),
        ({"freeze": ["embeding"]}, r'freeze: "embeding" names no weight'),
        ({"freeze": ["embedding", "layers", "other"]}, "nothing is left to train"),
        ({"freeze": ["embedding"], "kind": "lora"}, r'freeze: "embedding" names no weight of this model that trains'),
        ({"freeze": "unread", "kind": "lora"}, r'freeze: "unread" names rows .* none of them trains here'),
        ({"freeze": ["embedding", "other", "unread"]}, r'freeze: "unread" names rows'),
        ({"anchor": {"7": 1.0}}, r'anchor: "7" names no weight'),
        ({"anchor": -1.0}, r"anchor = -1\.0: a strength is a number of at least 0"),
        ({"anchor": float("nan")}, "anchor = nan"),
        ({"anchor": "strong"}, "expected float or dict"),
        ({"replay": 1.0}, r"replay = 1\.0 is a share of the blocks"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(table: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ExpertKind.of(**table).make_trainable(tiny_llama(num_layers=2))


# Rows that were never read

READ = frozenset(range(10, 16))


def _only_some_pieces(folder: Path, **settings: Any) -> Stage:
    documents = [list(READ) * 5 for _ in range(20)]
    stage = stage_of(folder, blocks=blocks_of(documents, 16), num_steps=6, weight_decay=0.1, **settings)
    return replace(stage, hold_unread=True)


@pytest.mark.parametrize("tied", [False, True])
def test_rows_of_pieces_that_are_not_in_the_text_stay_to_the_bit_and_all_others_train(
    tmp_path: Path, tied: bool
) -> None:
    model = tiny_llama(num_layers=2, tie_word_embeddings=tied)
    start = weights_of(model)
    train_stage(model, _only_some_pieces(tmp_path), lambda point: None)
    for name, value in weights_of(model).items():
        changed = value != start[name]
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert set(changed.any(dim=1).nonzero().flatten().tolist()) == READ
        else:
            assert changed.any(), name


def test_held_rows_resume_to_the_bit(tmp_path: Path) -> None:
    def trained(folder: str, **stage: Any) -> dict[str, torch.Tensor]:
        model = tiny_llama(num_layers=2)
        train_stage(model, replace(_only_some_pieces(tmp_path / folder), **stage), lambda point: None)
        return weights_of(model)

    whole = trained("whole")
    trained("parts", pause_at=4)
    assert same_bits(trained("parts"), whole)


def test_tokens_that_an_objective_adds_to_the_text_train_too(tmp_path: Path) -> None:
    stage = _only_some_pieces(tmp_path)
    model = tiny_llama(num_layers=2)
    start = model.get_input_embeddings().weight.detach().clone()
    masks = MaskedBatches(mask_id=3, vocab_size=16, special_ids=(), rates=(0.3,), seed=0)
    train_stage(model, replace(stage, batches=masks), lambda point: None)
    changed = (model.get_input_embeddings().weight != start).any(dim=1)
    assert set(changed.nonzero().flatten().tolist()) == READ | {3}


def test_selectors_know_the_names_of_other_architectures() -> None:
    assert selects("layers", "transformer.h.3.attn.c_attn.weight")
    assert selects("2-4", "bert.encoder.layer.3.output.dense.weight")
    assert not selects("2-4", "bert.encoder.layer.31.output.dense.weight")
    assert selects("embedding", "transformer.wte.weight")


@pytest.mark.parametrize("kind", EXPERT_KINDS.names())
def test_unset_keys_leave_every_fingerprint_as_it_was(kind: str) -> None:
    identity = ExpertKind.of(kind=kind).identity()
    assert not {"anchor", "freeze", "replay"} & set(identity)
    for key, value in (("anchor", 0.5), ("freeze", ["other"]), ("replay", 0.1)):
        assert ExpertKind.of(kind=kind, **{key: value}).identity() != identity


# A run


def test_replay_takes_its_share_of_every_expert_from_the_others_and_nothing_else_changes(
    tiny_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    plain = dry_run(tiny_recipe(), tmp_path / "plain")[1]
    plan, budget = dry_run(tiny_recipe(expert={"replay": 0.25}), tmp_path / "replay")
    assert (budget.base, budget.dense) == (plain.base, plain.dense)
    assert sum(s.tokens for s in budget.experts.values()) == sum(s.tokens for s in plain.experts.values())
    for name, stage in budget.experts.items():
        assert stage.own == plan.clusters[name]
        assert set(stage.replayed) == {"deu", "nld", "rus"} - set(stage.own)
        drawn = {code: sum(phase.get(code, 0) for phase in stage.counts) for code in stage.shares}
        total = sum(drawn.values())
        assert sum(drawn[code] for code in stage.replayed) == pytest.approx(0.25 * total, abs=1)
        assert plain.experts[name].steps == stage.steps
    assert "replayed" in budget.to_text()


def test_experts_of_a_run_keep_the_rows_of_other_scripts_and_dense_has_none_to_keep(tmp_path: Path) -> None:
    experts = ExpertSet.load(train_tiny(tmp_path, expert={"freeze": "unread"}))
    assert experts.verify() == []
    base = experts.load_model("base").state_dict()["model.embed_tokens.weight"]
    for name in ("dense", *experts.names):
        rows = find_unread(experts, name).ids if name != "dense" else read_nowhere(experts)
        changed = torch.ne(experts.load_model(name).state_dict()["model.embed_tokens.weight"], base).any(dim=1)
        assert set(changed.nonzero().flatten().tolist()) == set(range(len(base))) - rows


def read_nowhere(experts: ExpertSet) -> frozenset[int]:
    """Pieces that no language of the run has."""
    return frozenset.intersection(*(find_unread(experts, name).ids for name in experts.names))


def test_a_run_with_all_three_is_made_once_and_named_by_them(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, expert={"anchor": {"embedding": 5.0}, "freeze": ["other"], "replay": 0.25})
    experts = ExpertSet.load(run)
    assert experts.verify() == []
    base, dense = (experts.load_model(name).state_dict() for name in ("base", "dense"))
    for name in experts.names:
        entry = experts.manifest.experts[name]
        assert entry.languages == experts.plan.clusters[name]
        assert set(entry.blocks or {}) == {"deu", "nld", "rus"}
        weights = experts.load_model(name).state_dict()
        assert torch.equal(weights["model.norm.weight"], base["model.norm.weight"])
        assert not torch.equal(weights["model.embed_tokens.weight"], base["model.embed_tokens.weight"])
    assert torch.equal(dense["model.norm.weight"], base["model.norm.weight"]), "dense is trained as the experts are"
    recipe = Recipe.from_dict(experts.manifest.recipe)
    recipe = replace(recipe, data=replace(recipe.data, path=str(tmp_path / "corpus")))
    before = contents(run)
    train(recipe, run)
    assert {name: sha for name, sha in contents(run).items() if before.get(name) != sha} == {}
    other = replace(recipe, expert=replace(recipe.expert, replay=0.5))
    with pytest.raises(BadInput, match=r"\[expert\] replay was 0\.25 and is 0\.5"):
        train(other, run)


def test_plans_are_not_compared_with_replay(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\[expert\] replay = 0\.2 mixes .* with replay = 0"):
        compare_plans(tiny_recipe(expert={"replay": 0.2}), "typological,one", 1, tmp_path / "out")
