"""What of a base an expert trains: everything, low-rank adapters, or the last layers."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from clustering.errors import BadInput
from tests.xelm.made_runs import make_run
from tests.xelm.training_parts import stage_of, tiny_llama, weights_of
from xelm.expert_kinds.kind import EXPERT_KINDS, ExpertKind, expert_kind
from xelm.inference.routed import RoutedLM
from xelm.making.train import train
from xelm.models.base import load_model, load_tokenizer, new_config, new_model
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import NewBase, Recipe
from xelm.run.experts import ExpertSet
from xelm.training.loop import train_stage


def _changed(model: Any, folder: Path) -> set[str]:
    before = weights_of(model)
    train_stage(model, stage_of(folder, num_steps=3, weight_decay=0.5), lambda _: None)
    return {name for name, value in weights_of(model).items() if not torch.equal(value, before[name])}


def test_a_full_expert_trains_every_weight(tmp_path: Path) -> None:
    model = ExpertKind.of().prepare(tiny_llama())
    assert _changed(model, tmp_path) == set(model.state_dict())


@pytest.mark.parametrize("targets", [None, ("q_proj",)])
def test_a_lora_expert_trains_its_adapters_only(tmp_path: Path, targets: tuple[str, ...] | None) -> None:
    model = ExpertKind.of(kind="lora", rank=2, targets=targets).prepare(tiny_llama())
    changed = _changed(model, tmp_path)
    assert changed == {name for name in model.state_dict() if "lora_" in name}
    if targets:
        assert all("q_proj" in name for name in changed)


def test_a_lora_expert_begins_as_its_base(tmp_path: Path) -> None:
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected = tiny_llama()(ids).logits
        torch.testing.assert_close(ExpertKind.of(kind="lora", rank=2).prepare(tiny_llama())(ids).logits, expected)


@pytest.mark.parametrize("tied", [True, False])
def test_the_last_layers_train_with_the_final_norm_and_the_head(tmp_path: Path, tied: bool) -> None:
    model = ExpertKind.of(kind="last_n_layers", num_last_layers=2).prepare(
        tiny_llama(num_layers=3, tie_word_embeddings=tied)
    )
    changed = _changed(model, tmp_path)
    head = {"lm_head.weight", "model.embed_tokens.weight"} if tied else {"lm_head.weight"}
    last = {name for name in model.state_dict() if name.startswith(("model.layers.1.", "model.layers.2."))}
    assert changed == last | head | {"model.norm.weight"}


@pytest.mark.parametrize(
    ("config", "settings", "norm"),
    [
        ("GPT2Config", {"vocab_size": 48, "n_embd": 16, "n_layer": 2, "n_head": 2}, "transformer.ln_f.weight"),
        ("BloomConfig", {"vocab_size": 48, "hidden_size": 16, "n_layer": 2, "n_head": 2}, "transformer.ln_f.weight"),
        (
            "XGLMConfig",
            {"vocab_size": 48, "d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32},
            "model.layer_norm.weight",
        ),
        (
            "OPTConfig",
            {"vocab_size": 48, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32}
            | {"word_embed_proj_dim": 16},
            "model.decoder.final_layer_norm.weight",
        ),
    ],
)
def test_the_last_layers_of_other_architectures_are_found_too(config: str, settings: dict[str, Any], norm: str) -> None:
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**settings))
    ExpertKind.of(kind="last_n_layers", num_last_layers=1).prepare(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert norm in trained
    assert any(".1." in name for name in trained)
    assert not any(".0." in name for name in trained), "the first layer rests"


def test_more_layers_than_there_are_is_refused() -> None:
    with pytest.raises(BadInput, match=r"num_last_layers=3, but the model has 2 layers"):
        ExpertKind.of(kind="last_n_layers", num_last_layers=3).prepare(tiny_llama(num_layers=2))


def test_lora_targets_that_are_not_there_are_refused() -> None:
    with pytest.raises(BadInput, match=r"\[expert\] targets do not fit this model"):
        ExpertKind.of(kind="lora", targets=("no_such_module",)).prepare(tiny_llama())


def test_a_new_model_has_the_size_asked_for_and_weights_from_its_seed() -> None:
    settings = NewBase(hidden_size=16, num_layers=2, num_heads=2, context_length=32)
    tokenizer = new_tokenizer(settings, ())
    config = new_config(settings, tokenizer)
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (259, 16, 2)
    assert (config.intermediate_size, config.max_position_embeddings) == (48, 32)
    one, same, other = (weights_of(new_model(settings, tokenizer, seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_a_new_model_of_half_the_precision_loads_as_it_was(tmp_path: Path) -> None:
    settings = NewBase(hidden_size=16, num_layers=2, num_heads=2, context_length=32)
    model = new_model(settings, new_tokenizer(settings, ()), 0, dtype="bfloat16")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    model.save_pretrained(tmp_path)
    ids = torch.arange(30)[None]
    with torch.no_grad():
        # Positions too: rounded, they would be others than those of the model as it is loaded.
        assert torch.equal(model.eval()(ids).logits, load_model(str(tmp_path), dtype="auto").eval()(ids).logits)


def test_a_folder_without_a_model_or_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    for load, message in ((load_model, "no usable causal language model in"), (load_tokenizer, "no tokenizer in")):
        with pytest.raises(BadInput, match=message) as caught:
            load(str(tmp_path))
        assert len(str(caught.value).splitlines()) == 1


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BadInput, match="no usable causal language model"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "file", "told"),
    [
        (
            "full",
            "model.safetensors",
            r"dutch: its weights lack 1 tensor\(s\) of the model, such as model\.norm\.weight",
        ),
        ("lora", "adapter_model.safetensors", "dutch: Found missing adapter keys"),
    ],
)
def test_weights_that_lack_a_tensor_are_no_model_of_a_run(tmp_path: Path, kind: str, file: str, told: str) -> None:
    from safetensors.torch import load_file, save_file

    run = Path(shutil.copytree(make_run(tmp_path / "made", kind), tmp_path / "run"))
    weights = load_file(run / "experts" / "dutch" / file)
    del weights[max(weights) if kind == "full" else min(weights)]
    save_file(weights, run / "experts" / "dutch" / file, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=told):
        ExpertSet.load(run).load_model("dutch")


def test_a_base_that_lacks_a_tensor_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from safetensors.torch import load_file, save_file

    tiny_llama().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    load_model(str(tmp_path))
    assert "lack 1 tensor(s) of the model, such as model.norm.weight; these begin as random numbers" in caplog.text


@pytest.fixture
def norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of expert as another package would add it: one class in one file."""
    monkeypatch.setattr(EXPERT_KINDS, "_found", {name: EXPERT_KINDS.find(name) for name in EXPERT_KINDS.names()})

    @expert_kind
    @dataclass(frozen=True, kw_only=True)
    class Norms(ExpertKind):
        kind: str = "norms"
        also_embeddings: bool = False

        def prepare(self, model: Any) -> Any:
            model.requires_grad_(False)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_("norm" in name or (self.also_embeddings and "embed" in name))
            return model


def test_a_new_kind_is_one_class_that_trains_is_recorded_and_answers(
    norms: None, tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    recipe = tiny_recipe(expert={"kind": "norms", "also_embeddings": True, "rank": 3})
    experts = train(recipe, tmp_path / "run", report=False)
    base = weights_of(experts.load_model("base"))
    for name in experts.names:
        assert experts.manifest.experts[name].kind == "norms"
        after = weights_of(experts.load_model(name))
        changed = {key for key in base if not torch.equal(base[key], after[key])}
        assert changed
        assert all("norm" in key or "embed" in key or "lm_head" in key for key in changed)
    assert len(RoutedLM(experts).generate(["das"], max_new_tokens=2)) == 1
    assert Recipe.from_dict(experts.manifest.recipe) == dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data, path=Path(recipe.data.path).name)
    )


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"rankk": 2}, r"unknown key 'rankk' in \[expert\]: did you mean 'rank'"),
        ({"kind": "lora", "also_embedings": 1}, "did you mean 'also_embeddings'"),
        (
            {"zzz": 2},
            "known keys: alpha, also_embeddings, anchor, freeze, kind, layers, num_last_layers, rank, replay, targets",
        ),
        ({"kind": "norms", "rank": "two"}, "expert.rank = 'two': expected int"),
        ({"kind": "full", "rank": 0}, r"\[expert\] rank=0 must be at least 1"),
        (
            {"kind": "norm"},
            r"expert.kind = 'norm': choose full .* or norms \(norms\?\)",
        ),
        ({"kind": 3}, "expert.kind = 3: expected str"),
    ],
)
def test_keys_of_all_kinds_are_known_and_checked(norms: None, table: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        ExpertKind.of(**table)


def test_a_key_that_the_kind_does_not_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = '[base]\nmodel = "m"\n[data]\npath = "d"\n[clusters]\nk = 2\n[train]\ntokens = 100\n[expert]\n'
    (tmp_path / "recipe.toml").write_text(head + 'kind = "full"\nrank = 8\nalpha = 32\n')
    recipe = Recipe.load(tmp_path / "recipe.toml")
    assert caplog.messages == ['[expert] kind = "full" does not read rank.']
    assert recipe.expert.as_kind("lora").to_dict()["rank"] == 8


def test_a_run_with_an_adapter_that_cannot_share_the_base_still_answers_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from peft import LoraConfig, get_peft_model

    run = Path(shutil.copytree(make_run(tmp_path / "made", "lora"), tmp_path / "run"))
    model = get_peft_model(load_model(str(run / "base")), LoraConfig(r=2, target_modules="all-linear", use_dora=True))
    shutil.rmtree(run / "experts" / "dutch")
    model.save_pretrained(run / "experts" / "dutch")
    lm = RoutedLM(ExpertSet.load(run), device="cpu")
    prompts = ["het huis is mooi", "das haus ist schön"]
    together = lm.generate(prompts, policy="ensemble", max_new_tokens=4)
    assert [len(lm.generate([prompt], policy="ensemble", max_new_tokens=4)) for prompt in prompts] == [1, 1]
    assert len(together) == 2
    assert "because of dutch (has DoRA" in caplog.text
