"""A mixture is exactly the weighted sum of its experts, in every way that transformers runs a model."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, TextIteratorStreamer, pipeline

from clustering.errors import BadInput
from router.mixture.logspace import log_posterior
from router.mixture.model import MixtureForCausalLM
from router.routes.policy import apply_policy, parse_policy
from tests.router.tiny import (
    VOCABULARY,
    byte_tokenizer,
    gpt2,
    llama,
    naive_log_probs,
    naive_mixture,
    naive_probs,
    random_weights,
)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def experts(request):
    make = {"llama": llama, "gpt2": gpt2}[request.param]
    return [make(seed) for seed in range(3)]


def padded(sequences, side):
    longest = max(map(len, sequences))
    ids, mask = (
        torch.zeros((len(sequences), longest), dtype=torch.long),
        torch.zeros((len(sequences), longest), dtype=torch.long),
    )
    for row, tokens in enumerate(sequences):
        place = slice(longest - len(tokens), longest) if side == "left" else slice(0, len(tokens))
        ids[row, place] = torch.tensor(tokens)
        mask[row, place] = 1
    return ids, mask


def texts(generator, count, longest=24):
    return [generator.integers(3, VOCABULARY, size=generator.integers(1, longest)).tolist() for _ in range(count)]


@pytest.fixture(scope="module")
def references(experts):
    """200 random texts and, of each, every expert's probabilities in float64 without cache."""
    return [(tokens, naive_probs(experts, tokens)) for tokens in texts(np.random.default_rng(0), 200)]


def test_weights_may_follow_the_text_in_part(experts):
    """Half of each token's evidence: the same with a cache, and as the scores of texts have it."""
    from router.scoring.texts import mix_token_log_probs

    model = MixtureForCausalLM.from_experts(experts[:2], weights=[0.7, 0.3], dynamic=0.5)
    tokens = list(range(5, 17))
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    found = [float(logits[place, token]) for place, token in enumerate(tokens[1:])]
    probs = naive_probs(experts[:2], tokens)
    parts = [
        (weight, np.log([p[place, token] for place, token in enumerate(tokens[1:])]))
        for weight, p in zip((0.7, 0.3), probs, strict=True)
    ]
    assert found == pytest.approx(mix_token_log_probs(parts, 0.5).tolist(), abs=1e-4)
    cached = model.generate(torch.tensor([tokens]), max_new_tokens=6, do_sample=False)
    plain = model.generate(torch.tensor([tokens]), max_new_tokens=6, do_sample=False, use_cache=False)
    assert torch.equal(cached, plain)


@pytest.mark.parametrize("in_steps", [False, True], ids=["one pass", "cached steps"])
@pytest.mark.parametrize("policy", ["top1", "topm:2", "ensemble", "bayes", "b"])
def test_every_policy_equals_a_naive_float64_reference(experts, references, policy, in_steps):
    generator, left = np.random.default_rng(1), list(references)
    dynamic = parse_policy(policy, "abc").dynamic
    model = MixtureForCausalLM.from_experts(experts, dynamic=dynamic)
    shapes, worst, off_one = itertools.cycle(itertools.product((1, 3, 8, 16), ("left", "right"))), 0.0, 0.0
    while left:
        size, side = next(shapes)
        rows, left = left[:size], left[size:]
        weights = apply_policy(random_weights(generator, len(rows), 3), policy, "abc")
        ids, mask = padded([tokens for tokens, _ in rows], side)
        logits = _logits(model, ids, mask, torch.tensor(weights), generator if in_steps else None)
        for row, (tokens, probs) in enumerate(rows):
            found = logits[row][mask[row].bool()].double().numpy()
            worst = max(worst, np.abs(found - naive_mixture(probs, weights[row], tokens, dynamic)).max())
            off_one = max(off_one, np.abs(np.exp(found).sum(-1) - 1).max())
    assert worst < 1e-4
    assert off_one < 1e-5


def _logits(model, ids, mask, weights, generator):
    """Of one pass, or (with a generator) of steps of random lengths that share a cache."""
    length = ids.shape[1]
    inner = (
        [] if generator is None else sorted(set(generator.integers(1, length, size=3).tolist()) if length > 1 else [])
    )
    cache, parts, start = (model.new_cache() if inner else None), [], 0
    for stop in [*inner, length]:
        with torch.no_grad():
            output = model(
                ids[:, start:stop], attention_mask=mask[:, :stop], past_key_values=cache, expert_weights=weights
            )
        parts.append(output.logits)
        start = stop
    return torch.cat(parts, 1)


@pytest.mark.parametrize("dynamic", [False, True])
def test_cache_in_chunks_equals_one_pass(experts, dynamic):
    generator = np.random.default_rng(1)
    model = MixtureForCausalLM.from_experts(experts, dynamic=dynamic)
    ids, mask = padded([*texts(generator, 3, 30), list(range(3, 33))], "left")
    weights = torch.tensor(random_weights(generator, 4, 3))
    with torch.no_grad():
        whole = model(ids, attention_mask=mask, expert_weights=weights).logits
        cache, parts, start = model.new_cache(), [], 0
        for stop in (5, 6, 7, 15, ids.shape[1]):
            output = model(
                ids[:, start:stop], attention_mask=mask[:, :stop], past_key_values=cache, expert_weights=weights
            )
            parts.append(output.logits)
            start = stop
    real = mask.bool()
    assert (torch.cat(parts, 1)[real] - whole[real]).abs().max() < 1e-4
    assert cache.get_seq_length() == ids.shape[1]


@pytest.mark.parametrize("dynamic", [False, True])
def test_greedy_generation_equals_a_naive_loop(experts, dynamic):
    generator = np.random.default_rng(2)
    model = MixtureForCausalLM.from_experts(experts, dynamic=dynamic)
    sequences = texts(generator, 4, 12)
    weights = random_weights(generator, 4, 3)
    ids, mask = padded(sequences, "left")
    output = model.generate(
        ids,
        attention_mask=mask,
        expert_weights=torch.tensor(weights),
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=None,
    )
    for row, tokens in enumerate(sequences):
        grown = list(tokens)
        for _ in range(8):
            grown.append(int(naive_log_probs(experts, weights[row], grown, dynamic)[-1].argmax()))
        assert output[row, ids.shape[1] :].tolist() == grown[len(tokens) :]


@pytest.mark.parametrize("dynamic", [False, True])
def test_beam_search_with_cache_equals_without(experts, dynamic):
    generator = np.random.default_rng(3)
    model = MixtureForCausalLM.from_experts(experts, dynamic=dynamic)
    ids, mask = padded(texts(generator, 3, 12), "left")
    options = {
        "attention_mask": mask,
        "expert_weights": torch.tensor(random_weights(generator, 3, 3)),
        "max_new_tokens": 8,
        "num_beams": 4,
        "num_return_sequences": 2,
    }
    cached, recomputed = model.generate(ids, **options), model.generate(ids, use_cache=False, **options)
    assert cached.shape[0] == 6
    assert torch.equal(cached, recomputed)


def test_sampling_repeats_with_the_seed_and_returns_several_sequences(experts):
    model = MixtureForCausalLM.from_experts(experts, dynamic=True)
    ids = torch.tensor([[5, 6, 7]])
    draws = []
    for _ in range(2):
        torch.manual_seed(7)
        draws.append(model.generate(ids, do_sample=True, num_return_sequences=3, max_new_tokens=6, top_p=0.9))
    assert torch.equal(*draws)
    assert draws[0].shape[0] == 3


def test_prefill_in_chunks_does_not_change_the_answer(experts):
    model = MixtureForCausalLM.from_experts(experts, dynamic=True)
    ids = torch.arange(3, 25)[None]
    whole = model.generate(ids, max_new_tokens=5, do_sample=False)
    assert torch.equal(whole, model.generate(ids, max_new_tokens=5, do_sample=False, prefill_chunk_size=7))


@pytest.mark.parametrize("dynamic", [False, True])
def test_saved_mixture_loads_through_auto_class(experts, dynamic, tmp_path):
    model = MixtureForCausalLM.from_experts(experts, weights=[0.2, 0.5, 0.3], dynamic=dynamic)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(3, 20)[None]
    assert again.config.dynamic is dynamic
    assert torch.allclose(again(ids).logits, model(ids).logits, atol=1e-5)


def test_composing_leaves_the_experts_as_they_were():
    expert = llama(0)
    before = {name: tensor.clone() for name, tensor in expert.state_dict().items()}
    MixtureForCausalLM.from_experts([expert, llama(1)])
    assert all(torch.equal(before[name], tensor) for name, tensor in expert.state_dict().items())


def test_experts_without_weight_in_any_row_are_not_run(experts):
    model = MixtureForCausalLM.from_experts(experts)
    ran = []
    hooks = [e.register_forward_hook(lambda *_, index=i: ran.append(index)) for i, e in enumerate(experts)]
    model.generate(torch.tensor([[5, 6]]), expert_weights=torch.tensor([[0.5, 0.0, 0.5]]), max_new_tokens=2)
    for hook in hooks:
        hook.remove()
    assert set(ran) == {0, 2}


def test_weigher_chooses_weights_once_for_each_text():
    experts = [llama(0), llama(1)]
    model = MixtureForCausalLM.from_experts(experts)
    calls = []

    def weigher(ids, mask):
        calls.append(ids.shape)
        return torch.tensor([[0.0, 1.0]]).expand(len(ids), -1)

    model.weigher = weigher
    ids = torch.tensor([[5, 6, 7]])
    answer = model.generate(ids, max_new_tokens=5, do_sample=False)
    assert len(calls) == 1
    assert torch.equal(answer, experts[1].generate(ids, max_new_tokens=5, do_sample=False))


PENALTIES = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"encoder_repetition_penalty": 1.4},
    {"exponential_decay_length_penalty": (1, 1.5), "eos_token_id": 2},
    {"repetition_penalty": 1.2, "num_beams": 3},
]
INVARIANT = [
    {"no_repeat_ngram_size": 2},
    {"bad_words_ids": [[7], [8, 9]]},
    {"sequence_bias": {(5,): 2.0, (6,): -3.0}},
    {"suppress_tokens": [4, 5, 6]},
    {"min_new_tokens": 6},
    *({"do_sample": True, **draw} for draw in ({"top_k": 5}, {"top_p": 0.6}, {"min_p": 0.1}, {"typical_p": 0.5})),
    *({"do_sample": True, **draw} for draw in ({"epsilon_cutoff": 0.02}, {"eta_cutoff": 0.02}, {"temperature": 0.3})),
]


@pytest.mark.parametrize("options", PENALTIES + INVARIANT, ids=str)
@pytest.mark.parametrize("dynamic", [False, True])
def test_an_option_means_the_same_for_one_expert_and_for_a_mixture_of_one(experts, options, dynamic):
    model = MixtureForCausalLM.from_experts(experts, dynamic=dynamic)
    ids, mask = padded(texts(np.random.default_rng(5), 12, 12), "left")
    answers = []
    for chosen, extra in ((experts[1], {}), (model, {"expert_weights": torch.tensor([[0.0, 1.0, 0.0]])})):
        torch.manual_seed(0)
        given = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None, **options, **extra}
        answers.append(chosen.generate(ids, attention_mask=mask, **given))
    assert torch.equal(*answers)


def test_a_default_of_the_checkpoint_is_penalised_alike(experts):
    from transformers import GenerationConfig

    settings = GenerationConfig(
        repetition_penalty=1.5, max_new_tokens=10, do_sample=False, eos_token_id=2, pad_token_id=0
    )
    model = MixtureForCausalLM.from_experts(experts, weights=[1, 0, 0], generation_config=settings)
    ids = torch.tensor([[5, 6, 7, 5, 6]])
    alone = experts[0].generate(ids, generation_config=settings)
    assert torch.equal(model.generate(ids), alone)
    assert torch.equal(model.generate(ids, generation_config=settings), alone)


def test_logits_without_normalising_are_log_probabilities_and_one_number_more(experts):
    model = MixtureForCausalLM.from_experts(experts, weights=[0.5, 0.2, 0.3], dynamic=True)
    ids = torch.arange(3, 13)[None]
    with torch.no_grad():
        plain, shifted = model(ids).logits, model(ids, normalized=False).logits
    assert torch.allclose(torch.log_softmax(shifted, -1), plain, atol=1e-5)
    assert (shifted - plain)[..., 0].abs().min() > 1e-3


def test_labels_give_the_mean_loss_of_shifted_tokens(experts):
    model = MixtureForCausalLM.from_experts(experts)
    ids = torch.arange(3, 13)[None]
    labels = ids.clone()
    labels[0, :4] = -100
    output = model(ids, labels=labels)
    want = -naive_log_probs(experts, [1 / 3] * 3, ids[0].tolist(), False)[np.arange(3, 9), ids[0, 4:].numpy()].mean()
    assert float(output.loss) == pytest.approx(want, abs=1e-4)


def test_logits_to_keep_returns_the_last_positions(experts):
    model = MixtureForCausalLM.from_experts(experts, dynamic=True)
    ids = torch.arange(3, 13)[None]
    with torch.no_grad():
        assert torch.allclose(model(ids, logits_to_keep=2).logits, model(ids).logits[:, -2:], atol=1e-5)


def test_pipeline_and_streamer_accept_a_mixture():
    tokenizer = byte_tokenizer()
    model = MixtureForCausalLM.from_experts([llama(0, 259), llama(1, 259)])
    answer = pipeline("text-generation", model=model, tokenizer=tokenizer)("abc", max_new_tokens=4, do_sample=False)
    assert answer[0]["generated_text"].startswith("abc")
    streamer = TextIteratorStreamer(tokenizer)
    inputs = tokenizer("abc", return_tensors="pt")
    model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=3, streamer=streamer)
    assert "".join(streamer).startswith("abc")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixtureForCausalLM.from_experts([]), "at least one expert"),
        (lambda: MixtureForCausalLM.from_experts([llama(0), llama(0, 50)]), "share one tokenizer"),
        (lambda: MixtureForCausalLM.from_experts([llama(0)], weights=[0.5]), "sum to 1"),
        (lambda: _run(expert_weights=torch.tensor([[0.7, 0.7]])), "sum to 1"),
        (lambda: _run(expert_weights=torch.tensor([[1.0]])), "shape"),
        (lambda: _run(attention_mask=torch.ones(1, 5)), "attention_mask has shape"),
        (lambda: _generate(cache_implementation="static"), "cache_implementation"),
        (lambda: _generate(guidance_scale=1.5), "guidance_scale"),
    ],
)
def test_misuse_is_named(make, message):
    with pytest.raises(BadInput, match=message):
        make()


def test_dynamic_mixture_refuses_to_take_tokens_back():
    model = MixtureForCausalLM.from_experts([llama(0), llama(1)], dynamic=True)
    cache = model.new_cache()
    model(torch.tensor([[3, 4]]), past_key_values=cache)
    assert not cache.is_croppable
    with pytest.raises(ValueError, match="take tokens back"):
        cache.crop(-1)


def _run(**arguments):
    return MixtureForCausalLM.from_experts([llama(0), llama(1)])(torch.tensor([[3, 4]]), **arguments)


def _generate(**arguments):
    return MixtureForCausalLM.from_experts([llama(0), llama(1)]).generate(torch.tensor([[3, 4]]), **arguments)


@pytest.mark.parametrize("shape", [(2, 3), (2,), (3, 2, 1), (2, 3, 2), (1, 3, 1)])
def test_a_prior_of_another_shape_is_refused_and_not_broadcast(shape):
    likelihood_BMT = torch.zeros(2, 3, 3)  # as many positions as experts, where (2, 3) would be added to the wrong axes
    with pytest.raises(BadInput, match=r"log_prior_BMT has shape .*need \(2, 3, 1\)"):
        log_posterior(torch.zeros(shape), likelihood_BMT)
    for fits in ((2, 3, 1), (2, 3, 3)):
        assert log_posterior(torch.zeros(fits), likelihood_BMT).exp().flatten().tolist() == pytest.approx([1 / 3] * 18)
