"""The base model's own view of languages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from clustering import cluster_languages, distances_from_vectors
from clustering.errors import BadInput
from xelm.models.language_vectors import language_vectors
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import NewBase

TEXTS = {"deu": ["der alte Mann und das Meer"] * 3, "nld": ["de oude man en de zee"] * 3, "rus": ["старик и море"] * 3}


@pytest.fixture(scope="module")
def parts():
    tokenizer = new_tokenizer(NewBase(context_length=32), ())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


def test_vectors_are_means_over_all_tokens_however_they_are_batched(parts):
    model, tokenizer = parts
    vectors = language_vectors(model, tokenizer, TEXTS, layer=0)
    ids = [i for text in TEXTS["nld"] for i in tokenizer(text)["input_ids"]]
    expected = model.get_input_embeddings().weight[ids].double().mean(dim=0).detach().numpy()
    np.testing.assert_allclose(vectors["nld"], expected, atol=1e-6)


def test_a_script_of_its_own_stands_apart(parts):
    model, tokenizer = parts
    distances = distances_from_vectors(language_vectors(model, tokenizer, TEXTS))
    assert distances.subset(["deu", "nld"]).values[0, 1] < distances.subset(["deu", "rus"]).values[0, 1]
    plan = cluster_languages(list(TEXTS), 2, distances=distances)
    assert plan.cluster_of("deu") == plan.cluster_of("nld") != plan.cluster_of("rus")


def test_only_so_many_tokens_are_read(parts):
    model, tokenizer = parts
    short = language_vectors(model, tokenizer, {"deu": ["abc"]}, max_tokens=3)  # the start token and two letters
    assert np.allclose(short["deu"], language_vectors(model, tokenizer, {"deu": ["ab"]})["deu"], atol=1e-6)


def test_bad_layer_and_missing_text_are_named(parts):
    model, tokenizer = parts
    with pytest.raises(BadInput, match="layer=9"):
        language_vectors(model, tokenizer, TEXTS, layer=9)
    with pytest.raises(BadInput, match="nld: no text"):
        language_vectors(model, tokenizer, {"deu": ["a"], "nld": []})
