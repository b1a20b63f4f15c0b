"""Tiny models, a byte tokenizer and a naive float64 reference, built on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 48
CONTEXT = 96


def llama(seed: int, vocabulary: int = VOCABULARY, context: int = CONTEXT) -> Any:
    """A decoder with relative positions and its own output layer; wide weights make experts disagree."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def gpt2(seed: int, vocabulary: int = VOCABULARY, context: int = CONTEXT) -> Any:
    """A decoder with absolute positions and tied embeddings."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=context,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, ids 3..258, after <pad>, <s>, </s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


BYTE_VOCABULARY = 259


def save_byte_model(folder: Path) -> Path:
    """An untrained decoder of two layers that reads bytes, as a checkpoint with its tokenizer."""
    llama(0, BYTE_VOCABULARY).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def naive_probs(experts: Sequence[Any], tokens: Sequence[int]) -> np.ndarray:
    """p of every next token at every position under each expert, shape (M, T, V), float64: one row, no cache."""
    ids = torch.tensor([list(tokens)])
    with torch.no_grad():
        return np.stack([torch.softmax(_double(m)(input_ids=ids).logits[0], -1).numpy() for m in experts])


def naive_mixture(probs: np.ndarray, weights: Sequence[float], tokens: Sequence[int], dynamic: bool) -> np.ndarray:
    """log p of every next token at every position under the mixture, shape (T, V), from `naive_probs`."""
    mixed = np.zeros(probs.shape[1:])
    w = np.array(weights, dtype=np.float64)
    for position in range(len(tokens)):
        if dynamic and position:
            w = w * probs[:, position - 1, tokens[position]]
            w = w / w.sum()
        mixed[position] = (w[:, None] * probs[:, position]).sum(0)
    return np.log(mixed)


def naive_log_probs(
    experts: Sequence[Any], weights: Sequence[float], tokens: Sequence[int], dynamic: bool
) -> np.ndarray:
    """log p of every next token at every position, shape (T, V), float64: whole prefix, one row, no cache."""
    return naive_mixture(naive_probs(experts, tokens), weights, tokens, dynamic)


_DOUBLES: dict[int, tuple[Any, Any]] = {}


def _double(model: Any) -> Any:
    """A float64 copy, made once; the model is kept so that its id stays its own."""
    if id(model) not in _DOUBLES:
        copy = type(model)(model.config).double().eval()
        copy.load_state_dict(model.state_dict())
        _DOUBLES[id(model)] = (model, copy)
    return _DOUBLES[id(model)][1]


def random_weights(generator: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Random distributions, some with zeros."""
    weights = generator.dirichlet(np.full(columns, 0.5), size=rows)
    weights[generator.random((rows, columns)) < 0.3] = 0.0
    weights[weights.sum(1) == 0, 0] = 1.0
    return weights / weights.sum(1, keepdims=True)
