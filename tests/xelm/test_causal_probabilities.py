"""A score is a probability: each token is predicted by the experts that the text before it calls for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clustering.errors import BadInput
from router.mixture.experts import MixedExperts
from router.scoring.growing import score_growing
from tests.xelm.made_runs import TEXTS, make_run
from xelm.inference.routed import RoutedLM

POLICIES = ["top1", "topm:2", "ensemble", "bayes", "dutch"]
WHOLE = [text for texts in TEXTS.values() for text in texts]
# The beginnings of all texts, of every length that a reading ends at or between two of them.
CONTEXTS = [(text * 2)[:length] for text in WHOLE for length in range(0, 92, 4)][:200]


@pytest.fixture(scope="module", params=["full", "lora"])
def lm(request, tmp_path_factory) -> RoutedLM:
    return RoutedLM.from_pretrained(make_run(tmp_path_factory.getbasetemp(), request.param), device="cpu")


def ids_of(lm, text):
    return [lm.tokenizer.bos_token_id, *lm.tokenizer(text, add_special_tokens=False)["input_ids"]]


def next_token_log_probs(lm, model, context):
    with torch.no_grad():
        return model(torch.tensor([ids_of(lm, context)])).logits[0, -1]


@pytest.mark.parametrize("policy", POLICIES)
def test_next_bytes_of_200_contexts_sum_to_one_whichever_byte_comes(lm, policy, request):
    model = lm.as_causal_lm(policy)
    assert len(CONTEXTS) == 200
    lora = "lora" in request.node.name  # weighed by the same code: 40 contexts will do
    for number, context in enumerate(CONTEXTS[:: 5 if lora else 1]):
        ids = ids_of(lm, context)
        # Ten other next bytes in a batch: none of them may choose its own experts.
        rows = torch.tensor([[*ids, 3 + (number * 29 + 25 * byte) % 256] for byte in range(10)])
        with torch.no_grad():
            before = model(rows).logits[:, -2]
        assert torch.equal(before, before[:1].expand_as(before))
        assert float(before[0].double().logsumexp(-1)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_scores_of_all_continuations_by_one_token_sum_to_one(lm, policy):
    context = ids_of(lm, TEXTS["rus"][0][:9])
    sequences = [context, *([*context, token] for token in range(len(lm.tokenizer)))]
    dynamic = lm.policy(policy).dynamic
    found = score_growing(sequences, lm.growing_weights(sequences, policy), MixedExperts(lm.names, lm.models, dynamic))
    nats = np.array([log_probs_T.sum() for log_probs_T in found])
    assert np.exp(nats[1:] - nats[0]).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_later_tokens_change_nothing_before_them_to_the_bit(lm, policy):
    model = lm.as_causal_lm(policy)
    first, other = (ids_of(lm, TEXTS[code][0] + TEXTS[code][1])[:80] for code in ("deu", "rus"))
    with torch.no_grad():
        plain = model(torch.tensor([first])).logits[0]
        for cut in (1, 2, 7, 16, 40, 79):
            changed = model(torch.tensor([first[:cut] + other[cut:]])).logits[0]
            assert torch.equal(changed[:cut], plain[:cut]), cut


@pytest.mark.parametrize("policy", ["top1", "topm:2", "ensemble", "bayes", "dutch"])
def test_an_answer_after_a_prefix_is_as_probable_as_generate_draws_it(lm, policy):
    prompts = [TEXTS["rus"][0], TEXTS["deu"][0][:11], "", "Добрый Abend!"]
    options = {"max_new_tokens": 12, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    model = lm.as_causal_lm(policy)
    for prompt in prompts:
        for use_cache in (True, False):
            ids = torch.tensor([ids_of(lm, prompt)])
            output = model.generate(ids, attention_mask=torch.ones_like(ids), use_cache=use_cache, **options)
            tokens = output.sequences[0, ids.shape[1] :]
            drawn = torch.log_softmax(torch.stack(output.logits, 1)[0], -1).gather(-1, tokens[:, None]).squeeze(-1)
            sequence = [*ids[0].tolist(), *tokens.tolist()]
            growing = lm.growing_weights([sequence], policy, num_prompt=[ids.shape[1]])
            dynamic = lm.policy(policy).dynamic
            [scored] = score_growing([sequence], growing, MixedExperts(lm.names, lm.models, dynamic))
            assert scored[ids.shape[1] - 1 :] == pytest.approx(drawn.numpy(), abs=1e-5)
            with torch.no_grad():  # as a harness asks, in one pass
                whole = model(torch.tensor([sequence]), num_prompt=torch.tensor([ids.shape[1]])).logits[0]
            passed = whole[ids.shape[1] - 1 : -1].gather(-1, tokens[:, None]).squeeze(-1)
            assert passed.numpy() == pytest.approx(drawn.numpy(), abs=1e-5)


def test_score_with_a_prefix_counts_the_answer_alone(lm):
    prompt, answers = TEXTS["deu"][0], [" und das Brot", " утро", ""]
    scores = lm.score(answers, "top1", prefix=prompt)
    assert [score.bytes for score in scores] == [len(answer.encode()) for answer in answers]
    assert [score.tokens for score in scores] == [score.bytes for score in scores]
    expert = max(lm.route([prompt])[0].weights, key=lm.route([prompt])[0].weights.get)
    both, alone = lm.score([prompt + answers[1], prompt], expert)
    # One mixture answers, whatever the answer says: Russian after German stays with the German expert.
    assert scores[1].nats == pytest.approx(both.nats - alone.nats, abs=1e-3)
    each = lm.score(answers, "top1", prefix=[prompt] * 3)
    assert [score.nats for score in each] == [score.nats for score in scores]


@pytest.mark.parametrize("policy", ["top1", "ensemble", "bayes"])
def test_a_forward_pass_costs_what_score_says_and_a_known_text_less(lm, policy):
    text = TEXTS["rus"][1]
    ids = torch.tensor([ids_of(lm, text)])
    with torch.no_grad():
        logits = lm.as_causal_lm(policy)(ids).logits[0, :-1]
    nats = -float(logits.gather(-1, ids[0, 1:, None]).sum())
    [score], [known] = lm.score([text], policy), lm.score([text], policy, routing="text")
    assert score.nats == pytest.approx(nats, rel=1e-5)
    assert known.nats != pytest.approx(score.nats, rel=1e-6)
    weights_BK = lm.weights([text], policy)
    if policy == "top1":
        assert known.nats == pytest.approx(lm.score([text], lm.names[weights_BK[0].argmax()])[0].nats)


def test_a_text_without_letters_yet_has_the_weights_of_no_text(lm):
    [growing] = lm.growing_weights([ids_of(lm, "12. " + TEXTS["deu"][0])], "ensemble")
    assert growing.starts[:4] == (0, 1, 2, 3)
    assert np.allclose(growing.weights[:4], lm.weights([""], "ensemble"))
    assert lm.names[growing.weights[-1].argmax()] == "german"


def test_top1_along_long_texts_costs_little_more_than_one_expert(lm):
    texts = [" ".join(TEXTS[code] * 8) for code in TEXTS]
    sequences = [ids_of(lm, text)[:1024] for text in texts]
    assert all(len(sequence) >= 512 for sequence in sequences)
    needed = [
        g.needed(len(s) - 1).sum() / (len(s) - 1)
        for g, s in zip(lm.growing_weights(sequences, "top1"), sequences, strict=True)
    ]
    assert np.mean(needed) <= 1.3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"routing": "whole"}, "routing='whole': choose prefix or text"),
        ({"prefix": "a", "routing": "text"}, "routing='text': not with a prefix"),
        ({"prefix": "a", "spans": True}, "spans=True: not with a prefix"),
        ({"prefix": ["a", "b"]}, "2 prefixes for 1 texts"),
    ],
)
def test_contradictions_are_refused(lm, asked, message):
    with pytest.raises(BadInput, match=message):
        lm.score(["Haus"], **asked)


def test_an_empty_text_costs_nothing(lm):
    assert lm.score([""])[0].nats == 0 and math.isnan(lm.score([""])[0].bits_per_byte)
    assert lm.score(["", "a"], prefix="")[0].tokens == 0
