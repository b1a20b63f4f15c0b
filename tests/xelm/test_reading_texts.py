"""What callers give is read once, as text, and whole: iterables, special tokens, stop texts, start tokens, options."""

from __future__ import annotations

import multiprocessing
import pickle

import pytest
from transformers import AutoTokenizer, pipeline

from clustering.errors import BadInput
from tests.xelm.made_runs import TEXTS, make_run
from xelm.inference.routed import RoutedLM
from xelm.models.tokenizers import with_start_token

PROMPTS = [TEXTS["rus"][0], TEXTS["deu"][0], TEXTS["nld"][1][:30]]
POLICIES = ["top1", "topm", "ensemble", "bayes", "dutch"]


@pytest.fixture(scope="module", params=["full", "lora"])
def lm(request, tmp_path_factory) -> RoutedLM:
    return RoutedLM.from_pretrained(make_run(tmp_path_factory.getbasetemp(), request.param), device="cpu")


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> RoutedLM:
    return RoutedLM.from_pretrained(make_run(tmp_path_factory.getbasetemp(), "full"), device="cpu")


def test_what_can_be_read_once_is_answered(full, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("".join(f"{prompt}\n" for prompt in PROMPTS), encoding="utf-8")
    lines = [f"{prompt}\n" for prompt in PROMPTS]
    for call in (full.route, full.score, lambda texts: full.generate(texts, max_new_tokens=3), full.weights):
        wanted = call(PROMPTS)
        for given in (map(str, PROMPTS), (p for p in PROMPTS), tuple(PROMPTS), iter(PROMPTS)):
            assert str(call(given)) == str(wanted)
        with file.open(encoding="utf-8") as opened:
            assert str(call(opened)) == str(call(lines))
    spans = full.route((p for p in PROMPTS), spans=True)
    assert len(spans) == 3 and len(full.score(iter(PROMPTS), spans=True)) == 3


@pytest.mark.parametrize("texts", [b"Hallo", {"Hallo": 1}, {"Hallo"}, 5, None], ids=str)
def test_what_is_no_list_of_texts_is_refused(full, texts):
    for call in (full.route, full.score, full.generate, full.complete):
        with pytest.raises(BadInput, match="a list of strings is expected"):
            call(texts)


@pytest.mark.parametrize("text", ["Der Hund </s> läuft", "<s><pad>a", "</s>", "a<s>", "x </s></s>"])
def test_a_special_token_that_a_text_spells_is_text(lm, text):
    num_bytes = len(text.encode())
    assert lm.score([text], "top1")[0].tokens == num_bytes
    assert lm.score([text], "top1", spans=True)[0].tokens == num_bytes
    assert lm.complete([text], max_new_tokens=1)[0].num_prompt_tokens == num_bytes + 1


def test_a_stop_text_counts_in_the_answer_alone(full):
    for policy in POLICIES:
        for prompt in PROMPTS:
            [free] = full.complete([prompt], policy, max_new_tokens=16)
            for stop in (prompt[-2:] + free.text[:1], prompt[-1:], free.text[3:5], free.text[:1]):
                if stop:
                    [cut] = full.complete([prompt], policy, max_new_tokens=16, stops=[stop])
                    assert cut.text == "".join(full.stream(prompt, policy, max_new_tokens=16, stops=[stop]))
                    assert cut.text == free.text.split(stop)[0]
                    assert cut.ended == (stop in free.text or free.ended)


def test_rows_of_a_batch_stop_apart_and_keep_no_filling(full):
    free = full.complete(PROMPTS, "ensemble", max_new_tokens=16)
    stop = free[0].text[2:4]
    cut = full.complete(PROMPTS, "ensemble", max_new_tokens=16, stops=[stop])
    for one, whole in zip(cut, free, strict=True):
        assert one.text == whole.text.split(stop)[0]
        assert one.tokens == whole.tokens[: len(one.tokens)]
    kept = full.complete(PROMPTS, "ensemble", max_new_tokens=16, stop_strings=stop)
    assert kept[0].text.endswith(stop) and kept[0].ended and kept[0].tokens == cut[0].tokens
    beams = full.complete(PROMPTS[:1], "ensemble", max_new_tokens=12, num_beams=3, stops=[stop])
    assert stop not in beams[0].text


@pytest.mark.parametrize("stops", ["ie ", ["ok", ""], [5], 3], ids=str)
def test_stops_that_cannot_be_meant_are_refused(full, stops):
    for call in (lambda: full.complete(PROMPTS, stops=stops), lambda: next(full.stream(PROMPTS[0], stops=stops))):
        with pytest.raises(BadInput, match="stop text"):
            call()


@pytest.mark.parametrize("policy", ["top1", "ensemble", "bayes"])
def test_a_pipeline_answers_as_the_run_does(lm, policy):
    generator = pipeline("text-generation", model=lm.as_causal_lm(policy), tokenizer=lm.tokenizer)
    found = generator(PROMPTS, max_new_tokens=6, batch_size=2, do_sample=False, return_full_text=False)
    assert [answer[0]["generated_text"] for answer in found] == lm.generate(PROMPTS, policy, max_new_tokens=6)


def test_the_handed_out_tokenizer_starts_a_text_and_stays_so_when_saved(full, tmp_path):
    plain = full.tokenizer("ab", add_special_tokens=False)["input_ids"]
    assert full.tokenizer("ab")["input_ids"] == [full.tokenizer.bos_token_id, *plain]
    full.tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("ab")["input_ids"] == full.tokenizer("ab")["input_ids"]
    assert with_start_token(again)("ab")["input_ids"] == full.tokenizer("ab")["input_ids"]
    assert again(["ab", "ü"], padding=True)["input_ids"] == full.tokenizer(["ab", "ü"], padding=True)["input_ids"]


@pytest.fixture(scope="module")
def other_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


def test_a_run_goes_through_pickle_to_another_process(lm, other_process):
    wanted = lm.generate(PROMPTS[:1], max_new_tokens=4)
    assert pickle.loads(pickle.dumps(lm)).generate(PROMPTS[:1], max_new_tokens=4) == wanted
    assert other_process.apply(RoutedLM.generate, (lm, PROMPTS[:1]), {"max_new_tokens": 4}) == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 1e-320, "do_sample": True}, "temperature=1e-320 must be"),
        ({"temperature": 0.0}, "do_sample=False"),
        ({"temperature": float("nan"), "do_sample": True}, "temperature=nan"),
        ({"max_new_token": 5}, "Did you mean max_new_tokens"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"max_new_tokens": 2.5}, "whole number"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"top_p": "high"}, "top_p='high'"),
        ({"num_beams": 0}, "num_beams=0"),
        ({"repetition_penalty": -1}, "repetition_penalty=-1"),
        ({"attention_mask": None}, "Leave it out"),
        ({"polcy": "top1"}, "polcy: no option"),
    ],
    ids=str,
)
def test_options_are_checked_before_anything_runs(full, options, message):
    for call in (lambda: full.generate(["a"], **options), lambda: next(full.stream("a", **options))):
        with pytest.raises(BadInput, match=message):
            call()


def test_a_penalty_means_the_same_through_every_door(full):
    asked = {"max_new_tokens": 10, "repetition_penalty": 1.3}
    alone = full.generate(PROMPTS, "dutch", **asked)
    batch = full.tokenizer(PROMPTS, return_tensors="pt", padding=True)
    output = full.as_causal_lm("dutch").generate(**batch, do_sample=False, **asked)
    found = full.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    assert found == alone and alone != full.generate(PROMPTS, "dutch", max_new_tokens=10)
