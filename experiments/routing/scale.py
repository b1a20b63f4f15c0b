"""What routing costs as experts and languages become many; writes scale.json beside this file.

    python experiments/routing/scale.py --data ../shared/data [--opening]

Languages beyond those of SIB-200 are made from them: their letters exchanged within each script by a fixed permutation,
so that a made language has the statistics of a real one and shares few n-grams with it. Every two languages share an
expert of random weights (5 million, width 256); the run on disk is a complete one, with measured losses of every model
on every language. Measured in one thread, in seconds of a core: opening the run in a new process and its first route,
routing in batches of 64 texts of about 120 characters, the same one at a time; 32 prompts together under `top1` beside
bare `generate` of the same groups; and what `bayes` costs beside bare `generate` of the experts that carry 99.9 % of
the weight, one text after the other.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import Any

import iso639
import numpy as np
from samples import read

from clustering import ClusterPlan
from xelm import RoutedLM
from xelm.parts import (
    BASE,
    Cell,
    CombinedIdentifier,
    Evaluation,
    Manifest,
    ModelEntry,
    NewBase,
    new_tokenizer,
    write_json,
)

SIZES = (64, 200)
BATCH, TEXTS = 64, 640
ANSWERED, NEW_TOKENS = 16, 8
DISPATCHED, REPEATS = 32, 3
CARRY = 0.999
OPEN = """
import json, sys, time, torch, transformers
import xelm
began_s, began_core_s = time.perf_counter(), time.process_time()
lm = xelm.RoutedLM.from_pretrained(sys.argv[1], device="cpu")
opened_s, opened_core_s = time.perf_counter(), time.process_time()
lm.route([sys.argv[2]])
routed_s, routed_core_s = time.perf_counter(), time.process_time()
print(json.dumps([opened_core_s - began_core_s, routed_core_s - opened_core_s, routed_s - began_s]))
"""


def made_languages(texts: dict[str, list[str]], number: int) -> dict[str, list[str]]:
    """Texts of so many languages: the real ones first, then made ones."""
    # Codes of real languages that neither SIB-200 nor langid has; only the code is theirs.
    free = [one.part3 for one in iso639.ALL_LANGUAGES if one.scope == "I" and one.type == "L" and not one.part1]
    private = sorted(code for code in free if code not in texts)[: max(0, number - len(texts))]
    made = dict(texts)
    real = list(texts)
    for index, code in enumerate(private):
        rows = texts[real[index % len(real)]]
        used = sorted({c for row in rows for c in row.lower() if unicodedata.category(c)[0] == "L"})
        shuffled = list(used)
        random.Random(code).shuffle(shuffled)
        table = str.maketrans(dict(zip(used, shuffled, strict=True)))
        made[code] = [row.lower().translate(table) for row in rows]
    return dict(list(made.items())[:number])


def make_run(run: Path, train: dict[str, list[str]], plan: dict[str, list[str]]) -> None:
    """Write a run of these experts, whose measured losses are best on their own languages."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = new_tokenizer(NewBase(tokenizer="byte", context_length=512, tokens=1), ())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,  # every answer is as long as it may be
        pad_token_id=tokenizer.pad_token_id,
    )
    for seed, name in enumerate([BASE, *plan]):
        torch.manual_seed(seed)
        place = run / name if name == BASE else run / "experts" / name
        LlamaForCausalLM(config).save_pretrained(place)
        tokenizer.save_pretrained(place)
    ClusterPlan.from_clusters(plan).save(run / "plan.json")
    CombinedIdentifier.train(train, seed=0).save(run / "router")
    generator = np.random.default_rng(0)
    cells = {
        name: {
            code: Cell.of(1000 * (2.0 + 0.5 * generator.random() - 0.6 * (code in plan.get(name, ()))), 1000, 1000, 10)
            for code in train
        }
        for name in (BASE, *plan)
    }
    owners = {code: name for name, codes in plan.items() for code in codes}
    write_json(run / "eval" / "valid.json", Evaluation("valid", owners, cells).to_dict())
    manifest = Manifest(
        recipe={},
        base=ModelEntry([], None, state="done"),
        experts={name: ModelEntry(codes, BASE, kind="full", state="done") for name, codes in plan.items()},
    )
    manifest.refresh_files(run)
    manifest.write(run)


def opening(run: Path, text: str) -> dict[str, float]:
    """Seconds until a new process has opened the run and routed a text; the median of three processes."""
    command = [sys.executable, "-c", OPEN, str(run), text]
    rows = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3)]
    opened_s, first_s, wall_s = (round(statistics.median(column), 2) for column in zip(*rows, strict=True))
    return {
        "opening (core s)": opened_s,
        "first route after that (core s)": first_s,
        "both, by the wall (s)": wall_s,
    }


def routing(lm: RoutedLM, texts: list[str]) -> dict[str, float]:
    """Milliseconds of a core for a text, in batches and alone; the median of three rounds."""
    rounds = []
    for _ in range(3):
        started_s = time.process_time()
        for i in range(0, len(texts), BATCH):
            lm.route(texts[i : i + BATCH])
        together_s, started_s = time.process_time() - started_s, time.process_time()
        for text in texts[:BATCH]:
            lm.route([text])
        rounds.append((1e3 * together_s / len(texts), 1e3 * (time.process_time() - started_s) / BATCH))
    together_ms, alone_ms = (round(statistics.median(column), 3) for column in zip(*rounds, strict=True))
    return {"route, batches of 64 (core ms a text)": together_ms, "route, alone (core ms a text)": alone_ms}


def carrying(weights: dict[str, float]) -> list[str]:
    """The fewest experts that have 99.9 % of the weight together."""
    names, total = [], 0.0
    for name in sorted(weights, key=lambda name: -weights[name]):
        if total >= CARRY:
            break
        names.append(name)
        total += weights[name]
    return names


def dispatching(lm: RoutedLM, texts: list[str]) -> dict[str, float]:
    """32 prompts together under `top1`, beside a padded bare call of each expert for its own prompts, in turn."""
    import torch

    groups: dict[str, list[str]] = {}
    for text, weights_K in zip(texts, lm.weights(texts, "top1"), strict=True):
        groups.setdefault(lm.names[int(weights_K.argmax())], []).append(text)
    models = {name: lm.models.get(name) for name in groups}
    pairs = []
    for _ in range(REPEATS + 1):
        started_s = time.process_time()
        lm.generate(texts, policy="top1", max_new_tokens=NEW_TOKENS)
        middle_s = time.process_time()
        with torch.inference_mode():
            for name, own in groups.items():
                batch = lm.tokenizer(own, return_tensors="pt", padding=True, return_token_type_ids=False)
                models[name].generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)
        pairs.append((middle_s - started_s, time.process_time() - middle_s))
    ours_s, theirs_s = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
    return {
        "prompts under top1": len(texts),
        "experts that answer": len(groups),
        "top1, together (core s)": round(ours_s, 3),
        "top1, grouped bare calls (core s)": round(theirs_s, 3),
        "top1 / bare, median": round(statistics.median(a / b for a, b in pairs[1:]), 3),
    }


def mixing(lm: RoutedLM, texts: list[str]) -> dict[str, float]:
    """What `bayes` costs, beside bare `generate` of the experts that carry the weight, in turn text by text."""
    import torch

    routes = lm.route(texts)
    ratios, ours_s, theirs_s, counts, ran = [], 0.0, 0.0, [], []
    for text, route in zip(texts, routes, strict=True):
        names = carrying(route.weights)
        models = [lm.models.get(name) for name in names]  # loaded before anything is timed
        batch = lm.tokenizer([text], return_tensors="pt", return_token_type_ids=False)
        kept = (lm.weights([text], "bayes") > 0).sum()
        started_s = time.process_time()
        lm.generate([text], policy="bayes", max_new_tokens=NEW_TOKENS)
        middle_s = time.process_time()
        with torch.inference_mode():
            for model in models:
                model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)
        end_s = time.process_time()
        ratios.append((middle_s - started_s) / (end_s - middle_s))
        ours_s, theirs_s = ours_s + middle_s - started_s, theirs_s + end_s - middle_s
        counts.append(len(names))
        ran.append(int(kept))
    return {
        "texts answered": len(texts),
        "experts that bayes runs, mean": round(statistics.mean(ran), 2),
        "experts that carry 99.9 % of the weight, mean": round(statistics.mean(counts), 2),
        "bayes (core s)": round(ours_s, 2),
        "these experts bare (core s)": round(theirs_s, 2),
        "bayes / bare, all texts": round(ours_s / theirs_s, 3),
        "bayes / bare, median text": round(statistics.median(ratios), 3),
    }


def measure(
    train: dict[str, list[str]], test: dict[str, list[str]], num_experts: int, *, only_opening: bool
) -> dict[str, Any]:
    """Times for so many experts with two languages each."""
    codes = list(train)
    plan = {f"e{i}": codes[2 * i : 2 * i + 2] for i in range(num_experts)}
    texts = [rows[i % len(rows)][:120] for i in range(TEXTS) for rows in [test[codes[i % len(codes)]]]]
    row: dict[str, Any] = {"experts": num_experts, "languages": len(codes)}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        make_run(run, train, plan)
        row |= opening(run, texts[0])
        if only_opening:
            return row
        lm = RoutedLM.from_pretrained(run, device="cpu", check_files=False)
        lm.generate(texts[:1], policy="bayes", max_new_tokens=2)  # what is made at the first text
        row |= routing(lm, texts)
        row |= dispatching(lm, texts[:: len(texts) // DISPATCHED][:DISPATCHED])
        row |= mixing(lm, texts[:: len(texts) // ANSWERED][:ANSWERED])
    return row


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--opening", action="store_true", help="measure the opening alone, and keep the other figures")
    arguments = parser.parse_args()
    out = Path(__file__).parent / "scale.json"
    former = json.loads(out.read_text(encoding="utf-8"))["rows"] if arguments.opening else [{} for _ in SIZES]
    train, test = (made_languages(read(arguments.data, "sib200", split), 2 * SIZES[-1]) for split in ("train", "test"))
    rows = []
    for size, kept in zip(SIZES, former, strict=True):
        codes = list(train)[: 2 * size]
        texts = {code: train[code][:200] for code in codes}
        rows.append(kept | measure(texts, test, size, only_opening=arguments.opening))
        print(rows[-1], flush=True)
    output = {"command": "python experiments/routing/scale.py --data ../shared/data", "rows": rows}
    out.write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
