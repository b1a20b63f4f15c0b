"""Tokens are shared out before anything is trained, and the experts' sum is dense's to the token."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.errors import BadInput
from tests.xelm.conftest import tiny_table
from tests.xelm.training_parts import budget_of
from xelm.making.budgets.budget import Budget, count_parameters
from xelm.objectives.objective import OBJECTIVES
from xelm.recipe.recipe import Recipe

LENGTH = 32
PLAN = {"west": ["deu", "nld"], "east": ["rus"]}
BLOCKS = {"deu": 100, "nld": 60, "rus": 40}


def _config() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)


def _recipe(**sections: dict[str, Any]) -> Recipe:
    return Recipe.from_dict(tiny_table(**sections))


def _budget(recipe: Recipe, blocks: dict[str, int] | None = None, plan: dict[str, list[str]] | None = None) -> Budget:
    clusters: Any = SimpleNamespace(clusters=plan or PLAN)
    return budget_of(recipe, clusters, blocks or BLOCKS, LENGTH, _config())


_BLOCKS = st.fixed_dictionaries({code: st.integers(1, 10**6) for code in ("deu", "nld", "rus", "fra", "jpn")})


@given(
    blocks=_BLOCKS,
    tokens=st.integers(10_000, 10**8),
    batch_size=st.integers(1, 8),
    temperature=st.floats(0.5, 100),
    share=st.sampled_from(["languages", "equal"]),
)
def test_the_experts_get_what_dense_gets_to_the_token(
    blocks: dict[str, int], tokens: int, batch_size: int, temperature: float, share: str
) -> None:
    train = {"tokens": tokens, "batch_size": batch_size, "sampling_temperature": temperature, "share": share}
    plan = {"a": ["deu", "nld"], "b": ["rus", "fra"], "c": ["jpn"]}
    try:
        budget = _budget(_recipe(train=train), blocks, plan)
    except BadInput as error:
        assert "leaves no step" in str(error)
        return  # a tiny language may really get nothing
    assert budget.dense is not None
    step_tokens = batch_size * LENGTH
    assert sum(stage.tokens for stage in budget.experts.values()) == budget.dense.tokens
    assert abs(budget.dense.tokens - tokens) <= step_tokens / 2
    for stage in budget.stages():
        assert stage.tokens == stage.steps * step_tokens
        assert sum(stage.shares.values()) == pytest.approx(1)
        drawn = sum(stage.epochs[code] * blocks[code] for code in stage.epochs)
        assert drawn == pytest.approx(stage.steps * batch_size)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_language_sees_as_many_tokens_under_its_expert_as_under_dense(temperature: float) -> None:
    budget = _budget(_recipe(train={"tokens": 500_000, "sampling_temperature": temperature}))
    assert budget.dense is not None
    for stage in budget.experts.values():
        for code, epochs in stage.epochs.items():
            under_dense = budget.dense.epochs[code] * BLOCKS[code]
            # Experts are rounded to whole steps of 4 blocks, and those to whole blocks.
            assert epochs * BLOCKS[code] == pytest.approx(under_dense, abs=4)


def test_equal_shares_give_every_expert_the_same() -> None:
    budget = _budget(_recipe(train={"tokens": 128_000, "share": "equal"}))
    assert budget.experts["west"].steps == budget.experts["east"].steps == 500


def test_an_expert_left_without_a_step_is_named_with_the_remedy() -> None:
    with pytest.raises(BadInput, match=r"tokens=1000 leaves no step of 128 tokens for east. Raise tokens, or lower"):
        _budget(_recipe(train={"tokens": 1000}), {"deu": 100, "nld": 100, "rus": 1})


def test_no_dense_and_no_new_base_leave_their_stages_out() -> None:
    recipe = Recipe.from_dict(tiny_table(train={"dense": False}) | {"base": {"model": "some/model"}})
    budget = _budget(recipe)
    assert (budget.base, budget.dense) == (None, None)
    assert [stage.name for stage in budget.stages()] == ["west", "east"]


def test_the_base_has_a_budget_of_its_own_over_all_languages() -> None:
    budget = _budget(_recipe())
    assert budget.base is not None
    assert (budget.base.steps, budget.base.tokens) == (10, 1280)
    assert list(budget.base.epochs) == ["deu", "nld", "rus"]


def test_much_repeated_text_is_warned_of_by_language_and_expert() -> None:
    budget = _budget(_recipe(train={"tokens": 2_000_000}), {"deu": 1000, "nld": 1000, "rus": 1})
    assert not [w for w in budget.warnings if "expect overfitting" in w]
    budget = _budget(_recipe(train={"tokens": 2_000_000, "share": "equal"}), {"deu": 1000, "nld": 1000, "rus": 1})
    (warning,) = [w for w in budget.warnings if "expect overfitting" in w]
    assert warning.startswith("rus: its text is read 31248 times by east")


@pytest.mark.parametrize(("tokens", "warned"), [(1280, True), (100_000, False)])
def test_a_base_that_is_not_trained_enough_is_warned_of(tokens: int, warned: bool) -> None:
    new = {**tiny_table()["base"]["new"], "tokens": tokens}
    warnings = _budget(_recipe(base={"new": new})).warnings
    assert any("tokens a parameter" in warning for warning in warnings) is warned


def test_parameters_are_counted_as_the_model_has_them() -> None:
    from transformers import LlamaForCausalLM

    assert count_parameters(_config(), OBJECTIVES.find("causal")) == sum(
        p.numel() for p in LlamaForCausalLM(_config()).parameters()
    )


def _hub(**sections: dict[str, Any]) -> Recipe:
    return Recipe.from_dict(tiny_table(**sections) | {"base": {"model": "some/model"}})


def test_memory_is_that_of_the_largest_training() -> None:
    """The dense baseline is trained as the experts are, unless the recipe wants it in full."""
    big = _config()
    big.hidden_size, big.intermediate_size = 256, 1024

    def make(recipe: Recipe) -> float:
        clusters: Any = SimpleNamespace(clusters=PLAN)
        return budget_of(recipe, clusters, BLOCKS, LENGTH, big).memory_gib

    full, lora = make(_hub()), make(_hub(expert={"kind": "lora"}))
    full_dense = make(_hub(expert={"kind": "lora"}, train={"dense": "full"}))
    assert make(_hub(expert={"kind": "lora"}, train={"dense": False})) == lora < full
    assert full_dense == full


def test_adapters_and_half_precision_take_less_disk() -> None:
    full = _budget(_hub()).disk_gib
    assert _budget(_hub(expert={"kind": "lora"})).disk_gib < full
    half = Recipe.from_dict(tiny_table() | {"base": {"model": "some/model", "dtype": "bfloat16"}})
    assert _budget(half).disk_gib == pytest.approx(full / 2)


def test_a_budget_reads_well_and_goes_into_json() -> None:
    budget = _budget(_recipe(train={"tokens": 128_000}))
    text = budget.to_text()
    assert "experts together: 128,000 tokens; dense baseline: 128,000 tokens" in text
    assert [line.split()[0] for line in text.splitlines()[2:6]] == ["base", "west", "east", "dense"]
    assert json.loads(json.dumps(budget.to_dict()))["dense"]["tokens"] == 128_000
