"""Small encoder-decoder bases of the kind of mT5, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clustering import ClusterPlan
from router.identify.combined import CombinedIdentifier
from tests.xelm.conftest import WORDS, sentences
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import NewBase
from xelm.run.records.manifest import Manifest, ModelEntry

NUM_SENTINELS = 10


def gap_tokenizer(kind: str = "byte", sentinels: int = NUM_SENTINELS) -> Any:
    """A tokenizer of bytes or BPE pieces with sentinels, which as in mT5 are no special tokens."""
    settings = NewBase(tokenizer=kind, vocab_size=300)  # type: ignore[arg-type]
    tokenizer = new_tokenizer(settings, (text for code in WORDS for text in sentences(code, 60)))
    tokenizer.add_tokens([f"<extra_id_{number}>" for number in range(sentinels)])
    return tokenizer


def save_mt5(folder: Path, kind: str = "byte", sentinels: int = NUM_SENTINELS, *, seed: int = 0) -> Path:
    """A model of two layers on each side, with its tokenizer."""
    from transformers import MT5Config, MT5ForConditionalGeneration

    tokenizer = gap_tokenizer(kind, sentinels)
    config = MT5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    MT5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_gap_run(run: Path) -> Path:
    """A run of untrained experts, one for each language."""
    names = [f"only-{code}" for code in WORDS]
    for seed, folder in enumerate([run / "base", *(run / "experts" / name for name in names)]):
        save_mt5(folder, seed=seed)
    ClusterPlan({name: [code] for name, code in zip(names, WORDS, strict=True)}, "by hand").save(run / "plan.json")
    CombinedIdentifier.train({code: sentences(code, 60) for code in WORDS}).save(run / "router")
    experts = {name: ModelEntry([code], "base", state="done") for name, code in zip(names, WORDS, strict=True)}
    recipe = {"train": {"objective": "denoise"}}
    manifest = Manifest(recipe=recipe, base=ModelEntry([], None, state="done"), experts=experts)
    manifest.refresh_files(run)
    manifest.write(run)
    return run
