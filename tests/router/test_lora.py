"""LoRA experts on one base: each row gets exactly its own adapter, as peft computes it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

import router.models.lora_bank as lora_batch
from clustering.errors import BadInput
from router.generation import generate_ids
from router.mixture.experts import MixedExperts
from router.mixture.model import MixtureForCausalLM
from router.models.lora_bank import LoraBank
from router.models.lora_source import LoraSource
from router.scoring.texts import score_sequences
from tests.router.tiny import VOCABULARY, gpt2, llama, naive_log_probs

NAMES = ["a", "b", "c", "base"]
TARGETS = {
    "llama": [["q_proj", "v_proj"], "all-linear", ["gate_proj", "q_proj"]],
    "gpt2": [["c_attn"], ["c_attn", "c_proj"], "all-linear"],
}
MAKE = {"llama": llama, "gpt2": gpt2}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def adapters(request, tmp_path_factory):
    """The kind of base, and folders of three adapters of different ranks, scalings and targets."""
    folders: dict[str, str | None] = {}
    settings = [{"r": 4, "lora_alpha": 8}, {"r": 8, "lora_alpha": 16}, {"r": 2, "lora_alpha": 5, "use_rslora": True}]
    for seed, (name, targets, setting) in enumerate(zip("abc", TARGETS[request.param], settings, strict=True)):
        torch.manual_seed(seed)
        config = LoraConfig(target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM", **setting)
        folder = tmp_path_factory.mktemp(f"{request.param}-{name}")
        get_peft_model(MAKE[request.param](0), config).save_pretrained(folder)
        folders[name] = str(folder)
    return request.param, {**folders, "base": None}


@pytest.fixture
def source(adapters):
    return LoraSource(LoraBank(MAKE[adapters[0]](0)), adapters[1])


@pytest.fixture(scope="module")
def peft_model(adapters):
    kind, folders = adapters
    model = PeftModel.from_pretrained(MAKE[kind](0), folders["a"], adapter_name="a")
    for name in "bc":
        model.load_adapter(folders[name], name)
    return model.eval()


@pytest.mark.parametrize("stacked", [True, False])
def test_mixed_batch_equals_peft_adapter_names(adapters, source, peft_model, stacked, monkeypatch):
    if not stacked:
        monkeypatch.setattr(lora_batch, "_MAX_STACKED_RANK", 0)
    ids = torch.randint(3, VOCABULARY, (6, 12), generator=torch.Generator().manual_seed(0))
    rows = ["a", "b", "base", "c", "b", "a"]
    with torch.no_grad():
        want = peft_model(input_ids=ids, adapter_names=["__base__" if r == "base" else r for r in rows]).logits
        found = source.for_rows(rows)(input_ids=ids).logits
        with torch.autocast("cpu", torch.bfloat16):
            rough = source.for_rows(rows)(input_ids=ids).logits
    assert (found - want).abs().max() < 1e-4
    assert (source.for_rows(rows)(input_ids=ids).logits - want).abs().max() < 1e-4  # with gradients: sums out of place
    assert (rough.float() - want).abs().max() < 0.1 * want.abs().max()


def test_base_is_untouched_outside_a_view(adapters, source):
    ids = torch.arange(3, 20)[None]
    bare = MAKE[adapters[0]](0)
    source.get("a")(input_ids=ids)
    with torch.no_grad():
        assert torch.equal(source.get("a").base(ids).logits, bare(ids).logits)
        assert torch.equal(source.get("base")(input_ids=ids).logits, bare(ids).logits)
    assert source.get("a").base.state_dict().keys() == bare.state_dict().keys()


@pytest.mark.parametrize("options", [{}, {"num_beams": 3, "num_return_sequences": 2}])
def test_one_pass_generation_answers_as_prompt_by_prompt(source, options):
    generator = np.random.default_rng(0)
    asked = [generator.integers(3, VOCABULARY, size=n).tolist() for n in (4, 9, 2, 7, 5)]
    weights = np.eye(4)[[0, 1, 3, 2, 0]]
    together = generate_ids(asked, weights, MixedExperts(NAMES, source), max_new_tokens=6, **options)
    alone = [
        generate_ids([p], w[None], MixedExperts(NAMES, source), max_new_tokens=6, **options)[0]
        for p, w in zip(asked, weights, strict=True)
    ]
    assert together == alone


def test_one_pass_runs_the_base_once_for_each_token(source):
    calls = []
    source.get("a").base.register_forward_hook(lambda *_: calls.append(1))
    generate_ids(
        [[5, 6], [7, 8], [9, 10]],
        np.eye(4)[[0, 1, 2]],
        MixedExperts(NAMES, source),
        max_new_tokens=4,
        eos_token_id=None,
    )
    assert len(calls) == 4


@pytest.mark.parametrize("dynamic", [False, True])
def test_mixtures_of_adapters_equal_the_naive_reference(adapters, source, dynamic):
    kind, folders = adapters
    merged = [PeftModel.from_pretrained(MAKE[kind](0), folders[name]).merge_and_unload().eval() for name in "ab"]
    tokens = np.random.default_rng(1).integers(3, VOCABULARY, size=12).tolist()
    want = naive_log_probs([copy.deepcopy(m) for m in merged], [0.3, 0.7], tokens, dynamic)
    model = MixtureForCausalLM.from_experts(source.get_many(["a", "b"]), dynamic=dynamic)
    with torch.no_grad():
        found = model(torch.tensor([tokens]), expert_weights=torch.tensor([[0.3, 0.7]])).logits[0]
    assert np.abs(found.numpy() - want).max() < 1e-4
    weights = np.array([[0.3, 0.7, 0, 0]])
    scored = score_sequences([tokens], weights, MixedExperts(NAMES, source, dynamic))[0]
    assert np.abs(scored - want[np.arange(11), tokens[1:]]).max() < 1e-4


def test_mixture_of_adapters_is_not_saved_without_them(source, tmp_path):
    with pytest.raises(BadInput, match="mixture of adapters"):
        MixtureForCausalLM.from_experts(source.get_many(["a", "b"])).save_pretrained(tmp_path)


def test_adapters_are_read_on_first_use(source):
    assert source._bank.names == ()
    source.for_rows(["b", "base"])
    assert source._bank.names == ("b",)


def _adapter(tmp_path, base=None, **settings):
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **settings})
    get_peft_model(base or llama(0), config).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: LoraBank(llama(0)).add("a", path), "adapter_config.json: no such file"),
        (lambda path: LoraBank(llama(0)).add("a", _adapter(path, use_dora=True)), "has DoRA"),
        (lambda path: LoraBank(llama(0)).add("a", _adapter(path, modules_to_save=["lm_head"])), "has whole modules"),
        (lambda path: LoraBank(gpt2(0)).add("a", _adapter(path)), "which the base model lacks"),
        (lambda path: LoraBank(llama(0)).model_for_rows(["x"]), "No expert is called x"),
        (lambda path: LoraSource(LoraBank(llama(0)), {}).get("x"), "No expert is called x"),
        (lambda path: _twice(path), "already loaded"),
        (lambda path: _cut(path), "cannot be read"),
        (lambda path: _wrong_rows(path), "does not fit adapters for 2 rows"),
    ],
)
def test_misuse_is_named(make, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        make(tmp_path)


def _twice(path):
    bank = LoraBank(llama(0))
    bank.add("a", _adapter(path))
    bank.add("a", path)


def _cut(path):
    file = _adapter(path) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    LoraBank(llama(0)).add("a", path)


def _wrong_rows(path):
    source = LoraSource(LoraBank(llama(0)), {"a": _adapter(path), "base": None})
    source.for_rows(["a", "base"])(input_ids=torch.ones((3, 2), dtype=torch.long))
