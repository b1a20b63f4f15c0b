"""The routed mixture passes for a transformers model, alone, in pipelines and after saving."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from clustering.errors import BadInput
from tests.xelm.made_runs import TEXTS, make_run
from xelm.inference.causal_lm import RoutedForCausalLM
from xelm.inference.routed import RoutedLM
from xelm.run.experts import ExpertSet

PROMPTS = [TEXTS["rus"][0], TEXTS["deu"][0], TEXTS["nld"][1][:30]]


@pytest.fixture(scope="module", params=["full", "lora"])
def lm(request, tmp_path_factory) -> RoutedLM:
    return RoutedLM.from_pretrained(make_run(tmp_path_factory.getbasetemp(), request.param), device="cpu")


def encoded(lm, texts):
    return lm.tokenizer(texts, return_tensors="pt", padding=True)


def nats_by_row(model, batch):
    with torch.no_grad():
        log_probs = torch.log_softmax(model(**batch).logits, -1)[:, :-1]
    chosen = log_probs.gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    real = batch["attention_mask"][:, 1:].bool() & batch["attention_mask"][:, :-1].bool()
    return -(chosen * real).sum(1)


@pytest.mark.parametrize("policy", ["top1", "topm:2", "ensemble", "bayes"])
def test_a_padded_batch_costs_what_score_says(lm, policy):
    nats = nats_by_row(lm.as_causal_lm(policy), encoded(lm, PROMPTS))
    assert nats.tolist() == pytest.approx([score.nats for score in lm.score(PROMPTS, policy)], abs=2e-2, rel=1e-4)


@pytest.mark.parametrize("policy", ["top1", "ensemble", "bayes"])
def test_generate_in_a_batch_answers_as_the_run_does(lm, policy):
    batch = encoded(lm, PROMPTS)
    output = lm.as_causal_lm(policy).generate(**batch, max_new_tokens=6, do_sample=False)
    texts = lm.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    assert texts == lm.generate(PROMPTS, policy=policy, max_new_tokens=6)


def test_text_generation_pipeline_takes_it_in_batches(lm):
    generator = pipeline("text-generation", model=lm.as_causal_lm("top1"), tokenizer=lm.tokenizer)
    results = generator(PROMPTS, max_new_tokens=5, batch_size=2, do_sample=False, return_full_text=False)
    assert [len(result) for result in results] == [1, 1, 1]
    assert all(isinstance(result[0]["generated_text"], str) for result in results)


def test_saved_mixture_routes_and_answers_as_before(lm, tmp_path):
    model = lm.as_causal_lm("topm", m=3)
    model.save_pretrained(tmp_path / "mixture")
    batch = encoded(lm, PROMPTS)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "mixture")
    assert isinstance(again, RoutedForCausalLM) and again.config.policy == "topm:3"
    assert torch.allclose(nats_by_row(again, batch), nats_by_row(model, batch), atol=1e-3)
    assert AutoTokenizer.from_pretrained(tmp_path / "mixture")("a")["input_ids"]
    run = RoutedLM.from_pretrained(tmp_path / "mixture", device="cpu")
    assert run.generate(PROMPTS, max_new_tokens=4) == lm.generate(PROMPTS, max_new_tokens=4)
    assert ExpertSet.load(tmp_path / "mixture").verify() == []


def test_saving_keeps_weights_changed_in_memory(tmp_path, tmp_path_factory):
    lm = RoutedLM.from_pretrained(make_run(tmp_path_factory.getbasetemp(), "full"), device="cpu")
    with torch.no_grad():
        lm.models.get("russian").lm_head.weight.mul_(2)
    model = lm.as_causal_lm("top1")
    model.save_pretrained(tmp_path / "mixture")
    again = RoutedForCausalLM.from_pretrained(tmp_path / "mixture", device="cpu")
    batch = encoded(lm, PROMPTS[:1])
    assert torch.allclose(nats_by_row(again, batch), nats_by_row(model, batch), atol=1e-3)


def test_a_run_opens_as_a_model_under_another_policy(lm):
    # Evaluation harnesses name the revision even of a folder.
    model = RoutedForCausalLM.from_pretrained(lm.experts.path, policy="russian", dtype="bfloat16", revision="main")
    assert model.config.policy == "russian" and next(model.parameters()).dtype == torch.bfloat16


def test_what_cannot_be_done_is_said(lm, tmp_path):
    (tmp_path / "full").mkdir()
    Path(tmp_path / "full" / "file").touch()
    model = lm.as_causal_lm()
    with pytest.raises(BadInput, match="not empty"):
        model.save_pretrained(tmp_path / "full")
    with pytest.raises(BadInput, match="variant: only max_shard_size"):
        model.save_pretrained(tmp_path / "new", variant="fp16")
    with pytest.raises(BadInput, match="quantization_config: not for a routed model"):
        RoutedForCausalLM.from_pretrained(lm.experts.path, quantization_config={"bits": 4})
