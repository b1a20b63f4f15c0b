"""Runs of untrained experts that disagree strongly, so that an answer shows which experts gave it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from clustering import ClusterPlan
from router.identify.combined import CombinedIdentifier
from tests.xelm.conftest import WORDS, sentences
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import NewBase
from xelm.run.experts import ExpertSet
from xelm.run.records.manifest import Manifest, ModelEntry

CONTEXT = 160
OWNERS = {"german": "deu", "dutch": "nld", "russian": "rus"}
TEXTS = {code: sentences(code, 3, seed=9) for code in WORDS}


@cache
def make_run(folder: Path, kind: str) -> Path:
    """A run of three experts, one for each language, `full` or `lora`; made once for a folder."""
    run = folder / kind
    settings = NewBase(tokenizer="byte", context_length=CONTEXT, tokens=1)
    tokenizer = new_tokenizer(settings, ())
    for seed, name in enumerate(["base", *OWNERS]):
        place = run / name if name == "base" else run / "experts" / name
        if name == "base" or kind == "full":
            small_llama(tokenizer, seed, CONTEXT).save_pretrained(place)
        else:
            _adapter(run / "base", seed).save_pretrained(place)
        tokenizer.save_pretrained(place)
    ClusterPlan({name: [code] for name, code in OWNERS.items()}, "by hand").save(run / "plan.json")
    CombinedIdentifier.train({code: sentences(code, 60) for code in WORDS}).save(run / "router")
    manifest = Manifest(
        recipe={},
        base=ModelEntry([], None, state="done"),
        experts={name: ModelEntry([code], "base", kind=kind, state="done") for name, code in OWNERS.items()},
    )
    manifest.refresh_files(run)
    manifest.write(run)
    return run


def bare(run: Path, name: str) -> Any:
    """An expert as a user would load it without xelm."""
    return ExpertSet.load(run).load_model(name)


def small_llama(tokenizer: Any, seed: int, context: int) -> Any:
    """A causal model that disagrees strongly with those of other seeds."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _adapter(base: Path, seed: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model
