"""Answers come in the order asked, from the right experts, whatever shares a batch; memory stays under its cap."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from clustering.errors import BadInput
from router.generation import generate_ids, group_rows
from router.mixture.experts import MixedExperts
from router.models.pool import ExpertPool, num_bytes
from tests.router.tiny import VOCABULARY, gpt2, llama, random_weights

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def pool():
    return ExpertPool({name: lambda seed=seed: llama(seed) for seed, name in enumerate(NAMES)})


def prompts(count, seed=0, longest=15):
    generator = np.random.default_rng(seed)
    return [generator.integers(3, VOCABULARY, size=generator.integers(1, longest)).tolist() for _ in range(count)]


def test_rows_are_grouped_by_their_experts():
    weights = np.array([[1, 0, 0], [0.5, 0.5, 0], [1, 0, 0], [0.1, 0.9, 0]])
    assert [(g.experts, g.rows) for g in group_rows(weights)] == [((0,), (0, 2)), ((0, 1), (1, 3))]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3, "num_return_sequences": 2}])
def test_batches_answer_as_prompt_by_prompt(pool, dynamic, options):
    asked = prompts(9)
    weights = random_weights(np.random.default_rng(1), 9, 3)
    together = generate_ids(
        asked, weights, MixedExperts(NAMES, pool, dynamic), batch_size=4, max_new_tokens=6, **options
    )
    alone = [
        generate_ids([p], weights[i : i + 1], MixedExperts(NAMES, pool, dynamic), max_new_tokens=6, **options)[0]
        for i, p in enumerate(asked)
    ]
    assert together == alone
    assert {len(sequences) for sequences in together} == {options.get("num_return_sequences", 1)}


def test_one_expert_answers_as_its_bare_generate(pool):
    answer = generate_ids([[5, 6, 7]], np.eye(3)[[1]], MixedExperts(NAMES, pool), max_new_tokens=6)[0][0]
    bare = pool.get("b").generate(torch.tensor([[5, 6, 7]]), max_new_tokens=6)[0, 3:].tolist()
    assert answer == bare


def test_answers_end_at_the_end_token_and_at_the_context():
    pool = ExpertPool({"a": lambda: gpt2(0, context=24)})
    asked = [[5] * 3, [6] * 20, [7] * 23]
    answers = generate_ids(asked, np.ones((3, 1)), MixedExperts(["a"], pool), max_new_tokens=10, eos_token_id=None)
    assert [len(sequences[0]) for sequences in answers] == [10, 4, 1]
    first = answers[0][0]
    stopped = generate_ids(
        asked[:1], np.ones((1, 1)), MixedExperts(["a"], pool), max_new_tokens=10, eos_token_id=first[2]
    )[0][0]
    assert stopped == first[: first.index(first[2]) + 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": [[]]}, "Prompt 0 is empty"),
        ({"prompts": [[3] * 96]}, "Prompt 0 has 96 tokens; the experts read at most 96"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_length": 5}, "Use max_new_tokens"),
        ({"return_dict_in_generate": True}, "as_causal_lm"),
        ({"weights_BK": np.ones((2, 3))}, "weights have shape"),
        ({"prompts": [[3], [4]], "weights_BK": np.eye(3)[:2], "streamer": object()}, "A streamer follows one prompt"),
    ],
)
def test_misuse_is_named(pool, arguments, message):
    with pytest.raises(BadInput, match=message):
        generate_ids(
            **{"prompts": [[3, 4]], "weights_BK": np.eye(3)[:1], "experts": MixedExperts(NAMES, pool), **arguments}
        )


def test_pool_loads_on_first_use_and_drops_the_least_recently_used():
    loaded = []

    def loader(name):
        return lambda: (loaded.append(name), llama(0))[1]

    pool = ExpertPool({name: loader(name) for name in NAMES}, max_loaded=2)
    assert pool.loaded == () and pool.names == tuple(NAMES)
    pool.get("a"), pool.get("b"), pool.get("a"), pool.get("c")
    assert pool.loaded == ("a", "c") and loaded == ["a", "b", "c"]
    pool.get("b")
    assert pool.loaded == ("c", "b")
    pool.clear()
    assert pool.loaded == ()


def test_dropped_experts_leave_memory_before_the_next_is_loaded():
    alive: list[weakref.ref] = []

    def load():
        gc.collect()
        assert sum(ref() is not None for ref in alive) == 0
        model = llama(0)
        alive.append(weakref.ref(model))
        return model

    pool = ExpertPool(dict.fromkeys(NAMES, load), max_loaded=1)
    for name in [*NAMES, *NAMES]:
        generate_ids([[3, 4]], np.ones((1, 1)), MixedExperts([name], pool), max_new_tokens=2)
    assert len(alive) == 6


def test_pool_keeps_experts_that_answer_together():
    pool = ExpertPool({name: lambda: llama(0) for name in NAMES}, max_loaded=2)
    pool.get("a")
    first, second = pool.get_many(["b", "a"])
    assert first is pool.get("b") and second is pool.get("a")
    with pytest.raises(BadInput, match="max_loaded=2"):
        pool.get_many(NAMES)
    with pytest.raises(BadInput, match="No expert is called x"):
        pool.get("x")


def test_pool_counts_bytes():
    size = num_bytes(llama(0))
    pool = ExpertPool({name: lambda: llama(0) for name in NAMES}, max_bytes=int(2.5 * size))
    for name in NAMES:
        pool.get(name)
    assert pool.loaded == ("b", "c")
    small = ExpertPool({name: lambda: llama(0) for name in NAMES}, max_bytes=1)
    small.get("a"), small.get("b")
    assert small.loaded == ("b",)
    with pytest.raises(BadInput, match="max_loaded=0"):
        ExpertPool({}, max_loaded=0)


def test_bytes_count_tied_weights_once():
    model = gpt2(0)
    assert num_bytes(model) == sum(p.numel() * 4 for p in model.parameters()) + sum(
        b.numel() * b.element_size() for b in model.buffers()
    )
