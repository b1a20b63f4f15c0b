"""A mixture that a release of transformers breaks refuses to answer, and says under which versions."""

from __future__ import annotations

import pytest
import torch

from clustering.errors import BadInput
from router.mixture import proof
from router.mixture.model import MixtureForCausalLM
from router.mixture.releases import CACHE_NAMES, GENERATE_CACHE
from tests.router.tiny import gpt2, llama

IDS = torch.tensor([[5, 6, 7, 8]])
VERSIONS = r"transformers \d+\.\d+.*torch \d+\.\d+.*docs/versions\.md"


@pytest.fixture(autouse=True)
def nothing_proven(monkeypatch):
    monkeypatch.setattr(proof, "_PROVEN", set())


class LosesItsCache(MixtureForCausalLM):
    """As under a release that hands the cache on by a name which nobody reads: an argument that falls away."""

    def forward(self, *args, cache=None, past_key_values=None, **kwargs):
        return super().forward(*args, **kwargs)


class ReadsOneMaskOnly(LosesItsCache):
    """The same where the mask does not tell: one row without padding, whose mask falls away too."""

    def forward(self, input_ids, attention_mask=None, cache=None, past_key_values=None, **kwargs):
        mask = None if attention_mask is None else attention_mask[:, -input_ids.shape[1] :]
        return MixtureForCausalLM.forward(self, input_ids, attention_mask=mask, **kwargs)


class WeighsWrongly(MixtureForCausalLM):
    """The weights of the experts change places."""

    def forward(self, *args, expert_weights=None, **kwargs):
        turned = None if expert_weights is None else expert_weights.flip(1)
        return super().forward(*args, expert_weights=turned, **kwargs)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("broken", [LosesItsCache, ReadsOneMaskOnly, WeighsWrongly])
def test_a_mixture_that_would_answer_wrongly_refuses_with_the_versions(broken, make, dynamic):
    model = broken.from_experts([make(0), make(1)], dynamic=dynamic)
    with pytest.raises(BadInput, match=VERSIONS):
        model.generate(IDS, max_new_tokens=4)
    with pytest.raises(BadInput, match=VERSIONS):  # not only the first time
        model.generate(IDS, max_new_tokens=4)


def test_without_a_cache_a_mixture_that_loses_it_answers_rightly():
    experts = [llama(0), llama(1)]
    options = {"max_new_tokens": 6, "do_sample": False, "use_cache": False}
    right = MixtureForCausalLM.from_experts(experts).generate(IDS, **options)
    assert torch.equal(LosesItsCache.from_experts(experts).generate(IDS, **options), right)


def test_a_renamed_argument_is_refused_with_the_versions():
    class Renamed(MixtureForCausalLM):
        def prepare_inputs_for_generation(self, *args, **kwargs):
            inputs = super().prepare_inputs_for_generation(*args, **kwargs)
            return {("memory" if name in CACHE_NAMES else name): value for name, value in inputs.items()}

    with pytest.raises(BadInput, match=f"memory.*{VERSIONS}"):
        Renamed.from_experts([llama(0), llama(1)]).generate(IDS, max_new_tokens=2)


def test_the_proof_is_made_once_for_each_kind_of_mixture():
    model = MixtureForCausalLM.from_experts([llama(0), llama(1)])
    passes = []
    hook = model.register_forward_hook(lambda *_: passes.append(1))
    for _ in range(3):
        model.generate(IDS, max_new_tokens=2, do_sample=False)
    hook.remove()
    assert len(passes) == 3 + 3 * 2
    assert len(proof._PROVEN) == 1


def test_the_proof_leaves_weights_mode_and_random_numbers_alone():
    model = MixtureForCausalLM.from_experts([llama(0), llama(1)], dynamic=True).train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    proof.prove(model, use_cache=True)
    assert model.training and model.experts[0].training and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rounding_is_no_reason_to_refuse(dtype):
    for make in (llama, gpt2):
        model = MixtureForCausalLM.from_experts([make(seed).to(dtype) for seed in range(3)], dynamic=True)
        assert model.generate(IDS, max_new_tokens=2).shape[1] <= IDS.shape[1] + 2


@pytest.mark.parametrize("name", CACHE_NAMES)
def test_a_cache_is_taken_by_each_of_its_names(name):
    model = MixtureForCausalLM.from_experts([llama(0), llama(1)])
    cache = model.new_cache()
    with torch.no_grad():
        whole = model(IDS).logits
        first = model(IDS[:, :2], **{name: cache})
        second = model(IDS[:, 2:], **{name: first[GENERATE_CACHE]})
    assert first[GENERATE_CACHE] is cache
    assert torch.allclose(torch.cat([first.logits, second.logits], 1), whole, atol=1e-4)


@pytest.mark.parametrize(
    "keywords", [{"expert_weight": torch.ones(1, 2)}, {"attn_mask": IDS}, {"num_beams": 2}, {"return_dict": False}]
)
def test_an_unknown_keyword_of_a_pass_is_refused(keywords):
    with pytest.raises(BadInput, match=next(iter(keywords))):
        MixtureForCausalLM.from_experts([llama(0), llama(1)])(IDS, **keywords)


def test_what_transformers_hands_to_every_model_is_taken():
    model = MixtureForCausalLM.from_experts([llama(0), llama(1)])
    neutral = {"output_attentions": False, "return_dict": True, "token_type_ids": torch.zeros_like(IDS), "foo": None}
    with torch.no_grad():
        assert torch.equal(model(IDS, **neutral).logits, model(IDS).logits)
