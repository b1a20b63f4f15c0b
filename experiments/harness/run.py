"""lm-evaluation-harness on a run, as an object and as a saved folder; writes results.json beside this file.

    pip install lm_eval            # in an environment of its own that also has xelm
    python experiments/harness/run.py runs/progit --data ../shared/data

Two small local tasks over test sentences of SIB-200 in the run's languages: `endings` gives the first half of a
sentence and asks which of four second halves, all of the same language, belongs to it (25 % by chance); `sentences`
measures bits per byte. `RoutedLM.score`, which the harness knows nothing of, has to agree with the latter.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from prompted import PromptedHFLM

from xelm import RoutedLM
from xelm.parts import RoutedForCausalLM

NUM_CHOICES = 4
ENDINGS = """task: endings
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/endings.jsonl"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: beginning
doc_to_choice: choices
doc_to_target: label
target_delimiter: " "
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
SENTENCES = """task: sentences
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{folder}/sentences.jsonl"}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list: [{{metric: bits_per_byte}}]
"""


def sentences(data: Path, languages: list[str], limit: int, longest: int = 200) -> dict[str, list[str]]:
    from clustering import match
    from xelm.parts import read_file

    found = {}
    for file in sorted((data / "sib200").glob("*.jsonl.gz")):
        code = match(file.name.split("_")[0], languages)
        if code is not None:
            rows = [row.text for row in read_file(file) if row.split == "test"]
            # Longer texts than the context are cut by the harness into windows that do not overlap, unlike `score`.
            found[code] = [text for text in rows if 60 <= len(text.encode()) <= longest][:limit]
    return found


def endings(texts: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Beginnings with four endings each, the right one at a random place."""
    generator = np.random.default_rng(0)
    rows = []
    for rows_of in texts.values():
        halves = [(text[: len(text) // 2].strip(), text[len(text) // 2 :].strip()) for text in rows_of]
        for index, (beginning, ending) in enumerate(halves):
            others = [other for position, (_, other) in enumerate(halves) if position != index]
            choices = [str(c) for c in generator.choice(others, NUM_CHOICES - 1, replace=False)]
            label = int(generator.integers(NUM_CHOICES))
            choices.insert(label, ending)
            rows.append({"beginning": beginning, "choices": choices, "label": label})
    return rows


def write_tasks(folder: Path, texts: dict[str, list[str]]) -> None:
    tables = {"endings": endings(texts), "sentences": [{"text": t} for rows in texts.values() for t in rows]}
    for name, rows in tables.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        pattern = ENDINGS if name == "endings" else SENTENCES
        (folder / f"{name}.yaml").write_text(pattern.format(folder=folder), encoding="utf-8")


def evaluate(model: HFLM, tasks: Path) -> dict[str, Any]:
    started_at_s = time.perf_counter()
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=["endings", "sentences"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
    )
    results = found["results"]
    return {
        "accuracy": results["endings"]["acc,none"],
        "accuracy_by_length": results["endings"]["acc_norm,none"],
        "bits_per_byte": results["sentences"]["bits_per_byte,none"],
        "seconds": round(time.perf_counter() - started_at_s, 1),
    }


def difference(harness: PromptedHFLM, lm: RoutedLM, policy: str, texts: dict[str, list[str]]) -> float:
    """Largest difference, in nats an answer, between the harness and `score` with the question as prefix."""
    rows = endings(texts)
    pairs = [(row["beginning"], f" {choice}") for row in rows for choice in row["choices"]]
    requests = [
        Instance("loglikelihood", {}, pair, number, ("endings", number, 1)) for number, pair in enumerate(pairs)
    ]
    found = [nats for nats, _ in harness.loglikelihood(requests, disable_tqdm=True)]
    scores = lm.score([answer for _, answer in pairs], policy, prefix=[question for question, _ in pairs])
    return max(abs(nats + score.nats) for nats, score in zip(found, scores, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--limit", type=int, default=5, help="most sentences of a language")
    arguments = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    torch.manual_seed(0)
    lm = RoutedLM.from_pretrained(arguments.run, device="cpu")
    texts = sentences(arguments.data, lm.experts.languages, arguments.limit, min(200, lm.context - 2))
    every = [text for rows in texts.values() for text in rows]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        write_tasks(Path(scratch), texts)
        for policy in ("base", "top1", "ensemble", "bayes"):
            model = lm.as_causal_lm(policy)
            # The run's tokenizer puts the start token first; with the harness' own there would be two.
            plain = HFLM(pretrained=model, tokenizer=lm.tokenizer, batch_size=8, add_bos_token=False)
            results[policy] = evaluate(plain, Path(scratch))
            for routing in ("prefix", "text"):
                scores = lm.score(every, policy, routing=routing)
                bits = sum(score.nats for score in scores) / np.log(2) / sum(score.bytes for score in scores)
                results[policy][f"bits_per_byte_of_RoutedLM.score, routing={routing}"] = float(bits)
            told = PromptedHFLM(pretrained=model, tokenizer=lm.tokenizer, batch_size=8)
            results[policy]["question_told"] = evaluate(told, Path(scratch))
            results[policy]["largest_difference_to_score_with_prefix"] = difference(told, lm, policy, texts)
            print(policy, results[policy], flush=True)
        saved = Path(scratch) / "mixture"
        lm.as_causal_lm("top1").save_pretrained(saved)
        assert RoutedForCausalLM  # its import has told transformers what a routed model is
        results["top1, saved"] = evaluate(HFLM(pretrained=str(saved), device="cpu", batch_size=8), Path(scratch))
        print("top1, saved", results["top1, saved"], flush=True)
    versions = {name: version(name) for name in ("lm_eval", "torch", "transformers")}
    output = {
        "command": f"python experiments/harness/run.py runs/{arguments.run.name} --data ../shared/data",
        "versions": versions,
        "questions": len(every),
        "results": results,
    }
    file = Path(__file__).parent / "results.json"
    file.write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
