"""Every kind of model trains: seven architectures, full and adapters, BPE and bytes, from base to router."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clustering.errors import BadInput
from tests.xelm.conftest import WORDS, sentences
from xelm.inference.routed import RoutedLM
from xelm.making.train import dry_run, train
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import NewBase, Recipe
from xelm.run.experts import ExpertSet

_SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
}
CAUSAL: dict[str, tuple[dict[str, Any], str]] = {
    "Llama": ({**_SMALL, "num_key_value_heads": 2}, "attention"),
    "Qwen3": ({**_SMALL, "num_key_value_heads": 2, "head_dim": 8}, "attention"),
    "Gemma": ({**_SMALL, "num_key_value_heads": 2, "head_dim": 8}, "attention"),
    "XGLM": (
        {"d_model": 16, "ffn_dim": 32, "num_layers": 2, "attention_heads": 2, "max_position_embeddings": 40},
        "loss",
    ),
    "Bloom": ({"hidden_size": 16, "n_layer": 2, "n_head": 2}, "loss"),
}
MASKED: dict[str, tuple[dict[str, Any], str]] = {
    "XLMRoberta": ({**_SMALL, "max_position_embeddings": 43}, "loss"),
    "ModernBert": ({**_SMALL, "local_attention": 16}, "loss"),
}


def _save_base(folder: Path, name: str, settings: dict[str, Any], tokenizer_kind: str, masked: bool) -> Path:
    import transformers

    new = NewBase(tokenizer=tokenizer_kind, vocab_size=300, context_length=40)  # type: ignore[arg-type]
    tokenizer = new_tokenizer(new, (text for code in WORDS for text in sentences(code, 60)))
    if masked:
        tokenizer.add_special_tokens({"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"})
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad", "cls", "sep")}
    ids = {key: value for key, value in ids.items() if value is not None}
    config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **settings, **ids)
    torch.manual_seed(0)
    head = "ForMaskedLM" if masked else "ForCausalLM"
    getattr(transformers, f"{name}{head}")(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _weights(experts: ExpertSet, name: str) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in experts.load_model(name).named_parameters()}


@pytest.fixture
def trained(tmp_path: Path, tiny_recipe: Callable[..., Recipe]) -> Callable[..., ExpertSet]:
    """A run from a model of an architecture: one expert for each of two clusters."""

    def make(name: str, settings: dict[str, Any], kind: str, tokenizer: str, *, masked: bool) -> ExpertSet:
        base = _save_base(tmp_path / "model", name, settings, tokenizer, masked)
        recipe = tiny_recipe(
            base={"new": None, "model": str(base)},
            data={"heldout_bytes": 200},
            train={
                "tokens": 1024,
                "sequence_length": 32,
                "learning_rate": 1e-2,
                "dense": False,
                "objective": "masked" if masked else "causal",
                "evaluate_every_steps": 2,
            },
            expert={"kind": kind, "rank": 2, "num_last_layers": 1},
        )
        return train(recipe, tmp_path / "run", report=False)

    return make


def _check(experts: ExpertSet, kind: str, isolation: str) -> None:
    base = _weights(experts, "base")
    for name in experts.names:
        entry = experts.entry_or_none(name)
        assert entry is not None
        assert (entry.kind, entry.isolation, entry.tokens) == (kind, isolation, 512)
        if kind == "full":
            after = _weights(experts, name)
            assert any(not torch.equal(base[key], after[key]) for key in base)
            assert all(torch.isfinite(value).all() for value in after.values())
        else:
            assert (experts.folder(name) / "adapter_model.safetensors").is_file()
            assert not (experts.folder(name) / "model.safetensors").exists(), "the base is stored once"


@pytest.mark.parametrize(
    ("name", "kind", "tokenizer"),
    [(name, "full" if i % 2 else "lora", "bpe" if i % 3 else "byte") for i, name in enumerate(CAUSAL)]
    + [("Llama", "full", "bpe"), ("Bloom", "full", "byte")],
)
def test_a_causal_model_of_any_architecture_trains_and_answers(
    trained: Callable[..., ExpertSet], name: str, kind: str, tokenizer: str
) -> None:
    settings, isolation = CAUSAL[name]
    experts = trained(name, settings, kind, tokenizer, masked=False)
    _check(experts, kind, isolation)
    answers = RoutedLM(experts).generate(["Das Haus", "Дом"], max_new_tokens=3)
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("name", "kind", "tokenizer"),
    [("XLMRoberta", "full", "bpe"), ("XLMRoberta", "lora", "byte"), ("ModernBert", "lora", "bpe")],
)
def test_a_masked_model_trains_is_evaluated_and_says_that_it_cannot_write(
    trained: Callable[..., ExpertSet], name: str, kind: str, tokenizer: str
) -> None:
    from xelm.evaluation.evaluate import evaluate_on

    settings, isolation = MASKED[name]
    experts = trained(name, settings, kind, tokenizer, masked=True)
    _check(experts, kind, isolation)
    result = evaluate_on(experts, None)
    assert list(result.routed) == ["top1", "ensemble"]
    cell = result.models["base"]["deu"]
    assert cell.tokens == sum(
        len(experts.tokenizer()(d.text, add_special_tokens=False)["input_ids"])
        for d in experts.heldout("test", ["deu"])
    )
    assert 0 < cell.bits_per_byte < 20
    lm = RoutedLM(experts)
    assert lm.route(["Das Haus und das Wasser"])[0].language in ("deu", "nld")
    with pytest.raises(BadInput, match=r"experts are masked models\. They fill gaps"):
        lm.generate(["Das Haus"])
    [score] = lm.score(["Das Haus"], "top1")  # but it fills in every token of a text
    name = lm.names[int(lm.weights(["Das Haus"])[0].argmax())]
    [alone] = experts.objective.log_probs(experts.load_model(name), ["Das Haus"], experts.tokenizer(), 40)
    assert score.nats == pytest.approx(-alone.sum()) and score.tokens == len(alone)


def test_a_causal_model_is_no_masked_one(tmp_path: Path, tiny_recipe: Callable[..., Recipe]) -> None:
    base = _save_base(tmp_path / "model", "Llama", CAUSAL["Llama"][0], "byte", False)
    recipe = tiny_recipe(base={"new": None, "model": str(base)}, train={"objective": "masked", "sequence_length": 32})
    with pytest.raises(BadInput, match=r'objective = "masked" does not fit .*LlamaConfig'):
        train(recipe, tmp_path / "run", report=False)


@pytest.mark.parametrize("token", ["word", "<used>", "<image>"])
def test_a_tokenizer_with_tokens_beyond_the_embedding_is_told_before_anything_starts(
    tmp_path: Path, tiny_recipe: Callable[..., Recipe], token: str
) -> None:
    from transformers import AddedToken, AutoTokenizer

    folder = _save_base(tmp_path / "base", "Llama", CAUSAL["Llama"][0], "byte", masked=False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if token == "<used>":
        tokenizer.add_special_tokens({"pad_token": token})
    else:
        tokenizer.add_tokens([AddedToken(token, special=token == "<image>")])
    tokenizer.save_pretrained(folder)
    recipe = tiny_recipe(base={"new": None, "model": str(folder)})
    if token == "<image>":  # which no text spells
        dry_run(recipe, tmp_path / "run")
        return
    with pytest.raises(BadInput, match=r"has 260 tokens, the base model's embedding 259 rows: 1 token\(s\) have none"):
        dry_run(recipe, tmp_path / "run")
    assert not list((tmp_path / "run").glob("cache/*"))
