"""Documents of a block are kept apart where the model can, and that is measured, not believed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xelm.expert_kinds.kind import ExpertKind
from xelm.training.isolation import isolates_documents

_SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_GATED = {**_SIZES, "intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 8}
KEEPS_APART = {"LlamaConfig": _GATED, "Qwen3Config": _GATED, "GemmaConfig": _GATED}
ATTENDS_ACROSS = {
    "BloomConfig": {"vocab_size": 64, "hidden_size": 16, "n_layer": 1, "n_head": 2},
    "XGLMConfig": {"vocab_size": 64, "d_model": 16, "num_layers": 1, "attention_heads": 2, "ffn_dim": 32},
    "OPTConfig": {**_SIZES, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "MambaConfig": {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4},
}


def _model(config: str, **settings: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**settings))


@pytest.mark.parametrize("config", KEEPS_APART)
def test_a_model_on_the_current_mask_code_keeps_documents_apart(config: str) -> None:
    assert isolates_documents(_model(config, **KEEPS_APART[config]))


@pytest.mark.parametrize("config", ATTENDS_ACROSS)
def test_a_model_that_ignores_positions_is_found_out_even_with_small_new_weights(config: str) -> None:
    assert not isolates_documents(_model(config, **ATTENDS_ACROSS[config]))


def test_a_lora_expert_keeps_documents_apart_as_its_base_does() -> None:
    expert = ExpertKind.of(kind="lora", rank=2)
    assert isolates_documents(expert.prepare(_model("LlamaConfig", **_GATED)))
    assert not isolates_documents(expert.prepare(_model("XGLMConfig", **ATTENDS_ACROSS["XGLMConfig"])))


@pytest.mark.parametrize("training", [True, False])
def test_measuring_changes_neither_the_mode_nor_the_weights_nor_the_random_state(training: bool) -> None:
    model = _model("LlamaConfig", **_GATED, attention_dropout=0.5)
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    isolates_documents(model)
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_half_precision_does_not_hide_a_leak() -> None:
    assert isolates_documents(_model("LlamaConfig", **_GATED).to(torch.bfloat16))
    assert not isolates_documents(_model("XGLMConfig", **ATTENDS_ACROSS["XGLMConfig"], init_std=0.2).to(torch.bfloat16))
