"""Answers of one environment to 20 prompts, as JSON: each policy by `lm.generate`, `as_causal_lm` and a pipeline.

Run it as a script, with the package installed: `python experiments/versions/answers.py RUN`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from itertools import islice, zip_longest
from typing import Any

from transformers import pipeline

import xelm

POLICIES = ("top1", "topm", "ensemble", "bayes")
NUM_PROMPTS, PROMPT_CHARACTERS, NEW_TOKENS = 20, 30, 24
LIBRARIES = ("transformers", "tokenizers", "torch", "peft", "accelerate", "numpy")


def prompts_of(experts: xelm.ExpertSet) -> list[str]:
    """Beginnings of held-out documents, one language after another."""
    by_language: dict[str, list[str]] = {}
    for document in experts.heldout("test"):
        by_language.setdefault(document.language, []).append(document.text[:PROMPT_CHARACTERS])
    in_turn = (text for row in zip_longest(*by_language.values()) for text in row if text)
    return list(islice(in_turn, NUM_PROMPTS))


def answers(run: str) -> dict[str, Any]:
    """Versions, prompts, and for each way of asking and each policy the answers."""
    lm = xelm.RoutedLM.from_pretrained(run, device="cpu")
    prompts, found = prompts_of(lm.experts), {}
    for policy in POLICIES:
        model = lm.as_causal_lm(policy)
        found[f"lm.generate {policy}"] = lm.generate(prompts, policy, max_new_tokens=NEW_TOKENS)
        batch = lm.tokenizer(prompts, return_tensors="pt", padding=True)
        output = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)
        new = output[:, batch["input_ids"].shape[1] :]
        found[f"as_causal_lm {policy}"] = lm.tokenizer.batch_decode(new, skip_special_tokens=True)
        generator = pipeline("text-generation", model=model, tokenizer=lm.tokenizer)
        told = generator(prompts, max_new_tokens=NEW_TOKENS, do_sample=False, return_full_text=False)
        found[f"pipeline {policy}"] = [answer[0]["generated_text"] for answer in told]
    return {"versions": {name: version(name) for name in LIBRARIES}, "prompts": prompts, "answers": found}


if __name__ == "__main__":
    print(json.dumps(answers(sys.argv[1]), ensure_ascii=False))
