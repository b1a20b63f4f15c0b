"""A run of untrained experts, large enough that forward passes dominate: what speed and memory are measured on.

    python experiments/inference/make_run.py RUN --kind lora --hidden 512 --layers 8

Four experts of two languages each, routed by an identifier trained on the starter corpus; only the weights are random.
"""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from clustering import ClusterPlan
from xelm.parts import CombinedIdentifier, Manifest, ModelEntry, NewBase, new_tokenizer

CLUSTERS = {
    "germanic": ["deu", "nld"],
    "romance": ["spa", "ita"],
    "slavic": ["rus", "bul"],
    "turkic": ["tur", "azj"],
}
LANGUAGES = sorted(code for codes in CLUSTERS.values() for code in codes)
CONTEXT = 1024


def corpus() -> dict[str, list[str]]:
    """Documents of the starter corpus, for the eight languages."""
    folder = files("xelm") / "starter"
    return {
        code: [json.loads(line)["text"] for line in (folder / f"{code}.jsonl").read_text("utf-8").splitlines()]
        for code in LANGUAGES
    }


def prompts(num_per_language: int, num_characters: int = 120) -> dict[str, list[str]]:
    """Beginnings of documents, in each language."""
    return {code: [text[:num_characters] for text in texts[:num_per_language]] for code, texts in corpus().items()}


def make_run(
    run: Path,
    kind: str,
    *,
    hidden: int = 512,
    layers: int = 8,
    vocabulary: int = 8000,
    dtype: str = "float32",
    context: int = CONTEXT,
) -> Path:
    """Write a run of four untrained experts, if it is not there.

    Args:
        run: Folder.
        kind: `full` or `lora`.
        hidden: Width of the models.
        layers: Their depth.
        vocabulary: Tokens of the byte-level BPE trained on the starter corpus.
        dtype: Of the weights.
        context: Tokens that a model reads.
    """
    if (run / "xelm.json").is_file():
        return run
    texts = corpus()
    settings = NewBase(tokenizer="bpe", vocab_size=vocabulary, context_length=context, tokens=1)
    tokenizer = new_tokenizer(settings, (text for documents in texts.values() for text in documents))
    for seed, name in enumerate(["base", *CLUSTERS]):
        place = run / name if name == "base" else run / "experts" / name
        whole = name == "base" or kind == "full"
        model = _model(seed, tokenizer, hidden, layers, dtype, context) if whole else _adapter(run / "base", seed)
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
    ClusterPlan.from_clusters(CLUSTERS).save(run / "plan.json")
    CombinedIdentifier.train(texts).save(run / "router")
    manifest = Manifest(
        recipe={},
        base=ModelEntry([], None, state="done"),
        experts={name: ModelEntry(codes, "base", kind=kind, state="done") for name, codes in CLUSTERS.items()},
    )
    manifest.refresh_files(run)
    manifest.write(run)
    return run


def _model(seed: int, tokenizer: Any, hidden: int, layers: int, dtype: str, context: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        # Untrained weights must not end an answer early: every timing writes as many tokens.
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).to(getattr(torch, dtype))


def _adapter(base: Path, seed: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from xelm.parts import Lora

    torch.manual_seed(seed)
    kind = Lora()
    config = LoraConfig(r=kind.rank, lora_alpha=kind.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--kind", choices=["full", "lora"], default="full")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    make_run(arguments.run, arguments.kind, hidden=arguments.hidden, layers=arguments.layers, dtype=arguments.dtype)
