"""Caches that are kept and joined give the same answers as batches that were never interrupted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from router.continuing import continue_ids, keeps_cache
from router.generation import generate_ids
from router.mixture.experts import MixedExperts
from router.mixture.kept import KeptRow, can_keep, joined
from tests.router.tiny import VOCABULARY, gpt2, llama

PROMPTS = [[5, 9, 11], [7, 3, 3, 8, 20, 31, 6, 12], [40], [22, 23, 24, 25, 26]]
NUM_NEW = 12


class Models:
    """Models by name, all in memory."""

    def __init__(self, models):
        self._models = models

    def get(self, name):
        return self._models[name]

    def get_many(self, names):
        return [self._models[name] for name in names]


def of(models, dynamic=False):
    named = {str(number): model for number, model in enumerate(models)}
    return MixedExperts(list(named), Models(named), dynamic)


class Rows:
    """Rows that go on in any company; the tokens that a hook has seen are kept, with the scores that chose them."""

    def __init__(self, weights_BK, experts):
        self.weights_BK, self.experts = np.asarray(weights_BK), experts
        self.tokens = [list(prompt) for prompt in PROMPTS]
        self.scores = [[] for _ in PROMPTS]
        self.kept = [None] * len(PROMPTS)

    def go(self, rows, num_new):
        """Let some rows go on together; those without a cache must not be among others."""
        batch = joined([self.kept[row] for row in rows]) if self.kept[rows[0]] else None
        before = [list(self.tokens[row]) for row in rows]

        def hooks(places):
            chosen = [rows[place] for place in places]

            def note(_ids, scores):
                for row, scores_V in zip(chosen, scores, strict=True):
                    self.scores[row].append(torch.log_softmax(scores_V.float(), -1))
                return scores

            def step(ids, _scores, **_):
                for row, token in zip(chosen, ids[:, -1].tolist(), strict=True):
                    self.tokens[row].append(token)
                return torch.zeros(len(chosen), dtype=torch.bool)

            return {"logits_processor": [note], "stopping_criteria": [step]}

        new = continue_ids(
            before,
            self.weights_BK[rows],
            self.experts,
            kept=batch,
            for_batch=hooks,
            max_new_tokens=num_new,
            eos_token_id=None,
            do_sample=False,
        )
        for index, row in enumerate(rows):
            self.kept[row] = None if new is None else KeptRow(new, index)


CASES = {
    "llama": ([llama(1)], [[1.0]] * 4, False),
    "gpt2": ([gpt2(1)], [[1.0]] * 4, False),
    "mixture": ([llama(1), llama(2), gpt2(3)], [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4]], 0),
    "bayes": ([llama(1), llama(2)], [[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], True),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_that_part_and_meet_again_answer_as_if_alone(case):
    models, weights, dynamic = CASES[case]
    experts = of(models, dynamic)
    apart = Rows(weights, experts)
    for row in range(4):
        apart.go([row], NUM_NEW)
    rows = Rows(weights, experts)
    rows.go([0], 1)
    rows.go([1, 2], 1)
    rows.go([2, 0, 1], 3)  # rows of two batches, the longest last
    rows.go([3], 1)
    rows.go([3, 0], 2)  # some stay behind
    rows.go([0, 3], 1)  # the same batch, turned round
    rows.go([1, 2], 4)
    rows.go([0, 1, 2, 3], 4)
    rows.go([2], 1)
    for row in range(4):
        num = min(len(rows.tokens[row]), len(apart.tokens[row]))
        assert num - len(PROMPTS[row]) >= 8 and rows.tokens[row][:num] == apart.tokens[row][:num]
        pairs = list(zip(rows.scores[row], apart.scores[row], strict=False))
        assert max(float((one - other).abs().max()) for one, other in pairs) < 1e-4
    want = generate_ids(PROMPTS, np.asarray(weights), experts, max_new_tokens=NUM_NEW, eos_token_id=None)
    assert [tokens[len(prompt) :] for tokens, prompt in zip(apart.tokens, PROMPTS, strict=True)] == [w[0] for w in want]


def test_a_joined_batch_is_as_wide_as_its_longest_row_and_a_whole_one_is_not_copied():
    rows = Rows([[1.0]] * 4, of([llama(1)]))
    rows.go([0, 1], 1)
    rows.go([2], 1)
    first = rows.kept[0].batch
    assert joined([rows.kept[0], rows.kept[1]]) is first
    assert first.num_tokens == [3, 8] and first.num_bytes == 2 * 2 * 2 * 8 * 16 * 4  # layers, keys and values, rows ...
    small = joined([rows.kept[2], rows.kept[0]])
    assert small.num_tokens == [1, 3] and small.cache.get_seq_length() == 3
    assert first.cache.get_seq_length() == 8
    assert torch.equal(small.cache.layers[1].keys[1], first.cache.layers[1].keys[0, :, -3:])
    assert not small.cache.layers[0].values[0, :, :2].any()


def test_rows_that_other_experts_of_a_mixture_have_read_are_not_joined():
    rows = Rows([[0.5, 0.5], [0.5, 0.5], [1e-60, 1.0], [1e-60, 1.0]], of([llama(1), llama(2)]))  # 0 in float32
    rows.go([0], 1)
    rows.go([2], 1)
    assert rows.kept[0].batch.cache.active != rows.kept[2].batch.cache.active
    assert joined([rows.kept[0], rows.kept[2]]) is None


def sliding():
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return MistralForCausalLM(MistralConfig(vocab_size=VOCABULARY, sliding_window=4, **sizes, **heads)).eval()


def recurrent():
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4))


def encoder_decoder():
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, **sizes))


def with_option(**options):
    model = llama(1)
    model.generation_config.update(**options)
    return model


def without_cache():
    model = llama(1)
    return SimpleNamespace(config=model.config, generation_config=model.generation_config, forward=lambda ids: None)


@pytest.mark.parametrize(
    ("made", "keeps"),
    [
        (lambda: llama(1), True),
        (lambda: gpt2(1), True),
        (sliding, False),
        (recurrent, False),
        (encoder_decoder, False),
        (lambda: with_option(use_cache=False), False),
        (lambda: with_option(cache_implementation="static"), False),
        (without_cache, False),
    ],
    ids=["llama", "gpt2", "sliding", "recurrent", "encoder-decoder", "no cache", "static", "takes none"],
)
def test_which_caches_can_be_kept(made, keeps):
    assert can_keep(made()) == keeps


def test_a_model_without_such_a_cache_answers_in_batches_and_keeps_nothing():
    model = sliding()
    experts = of([model, llama(2)])
    assert not keeps_cache(np.array([1.0, 0.0]), experts) and not keeps_cache(np.array([0.5, 0.5]), experts)
    assert keeps_cache(np.array([0.0, 1.0]), experts)
    rows = Rows([[1.0, 0.0]] * 4, experts)
    rows.go([0, 1, 2, 3], 5)
    assert rows.kept == [None] * 4
    rows.go([0, 1, 2, 3], NUM_NEW - 5)
    want = generate_ids(PROMPTS, rows.weights_BK, experts, max_new_tokens=NUM_NEW, eos_token_id=None)
    assert [tokens[len(prompt) :] for tokens, prompt in zip(rows.tokens, PROMPTS, strict=True)] == [w[0] for w in want]
