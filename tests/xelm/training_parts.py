"""A tiny Llama and a stage of made-up tokens, for the tests of the training loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clustering import ClusterPlan
from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import draw_order
from xelm.corpus.store import LanguageCounts, TokenStore
from xelm.expert_kinds.kind import ExpertKind
from xelm.making.budgets.budget import Budget, ModelSize, make_budget
from xelm.recipe.recipe import Recipe, Train
from xelm.training.loop import Stage

VOCAB_SIZE = 48


def tiny_llama(seed: int = 0, num_layers: int = 1, **settings: Any) -> Any:
    """A Llama of a few thousand parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=16,
        **{"intermediate_size": 32, **settings},
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


def sharded_model(kind: str) -> Any:
    """What the tests of sharding train: `full`, `tied` (one matrix for both ends), `chunks` (the same) or `lora`."""
    model = tiny_llama(num_layers=2, tie_word_embeddings=kind in ("tied", "chunks"))
    torch.manual_seed(1)
    return ExpertKind.of(kind="lora", rank=2).prepare(model) if kind == "lora" else model


def blocks_of(documents: list[list[int]], sequence_length: int) -> Blocks:
    """Blocks over documents given as token ids."""
    starts = np.cumsum([0, *map(len, documents)])[:-1]
    tokens = np.asarray([token for document in documents for token in document], dtype=np.uint16)
    return Blocks(TokenStore("deu", tokens, starts, LanguageCounts(), Path()), sequence_length)


def random_documents(number: int, seed: int = 0) -> list[list[int]]:
    """Documents of 3 to 20 tokens with a pattern to learn: each token follows from the one before."""
    rng = np.random.default_rng(seed)
    return [
        [(int(first) + 7 * i) % VOCAB_SIZE for i in range(rng.integers(3, 20))] for first in rng.integers(0, 48, number)
    ]


def stage_of(
    folder: Path, *, blocks: Blocks | None = None, num_steps: int = 12, learning_rate: float = 5e-3, **settings: Any
) -> Stage:
    """A stage of one language."""
    train = Train(**{"tokens": 1, "batch_size": 4, "checkpoint_every_steps": 5, **settings})
    blocks = blocks or blocks_of(random_documents(40), 16)
    order = draw_order({"deu": len(blocks)}, {"deu": 1.0}, num_steps * train.batch_size, seed=train.seed, name="test")
    return Stage("test", order, {"deu": blocks}, learning_rate, train, folder / "checkpoints")


def sharded_stage(folder: Path, kind: str) -> Stage:
    """How they train it, `chunks` without logits, `unread` with rows held; evaluations fall on checkpoints."""
    settings = {"micro_batch_size": 1, "evaluate_every_steps": 5, "loss": "chunks" if kind == "chunks" else "auto"}
    half = [[token // 2 for token in document] for document in random_documents(40)]  # half of the pieces
    stage = stage_of(folder, blocks=blocks_of(half, 16) if kind == "unread" else None, **settings)
    return replace(stage, valid=stage.blocks, hold_unread=kind == "unread")


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def budget_of(recipe: Recipe, plan: ClusterPlan, num_blocks: dict[str, int], length: int, config: Any) -> Budget:
    """The budget of a recipe, as a run would have it."""
    new, dtype = recipe.base.new, recipe.base.dtype
    size = ModelSize.of(config, recipe.expert, recipe.objective, dtype)
    more = {"base_tokens": new.tokens if new else None, "replay": recipe.expert.replay}
    return make_budget(recipe.train, plan, num_blocks, length, size, **more)
