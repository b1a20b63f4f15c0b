"""lm-evaluation-harness over HTTP against `xelm serve`, beside the same tasks in process; writes over_http.json.

    pip install 'lm_eval[api]'     # in an environment that also has xelm[serve]
    python experiments/harness/over_http.py runs/progit --data ../shared/data --limit 2

Prompts go over the wire as token ids and as text. Every log-likelihood is compared with that of the same call in
process (`HFLM` on `RoutedLM.as_causal_lm`); the largest difference a token is what counts. Exit code 1 above 1e-4 nats.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from run import sentences, write_tasks

from xelm import RoutedLM

MOST_NATS = 1e-4


def log_likelihoods(model: Any, tasks: Path) -> list[float]:
    """Log-likelihood of every answer of the task `endings`, in its order."""
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=["endings"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = sorted(found["samples"]["endings"], key=lambda sample: sample["doc_id"])
    return [float(answer[0][0]) for sample in samples for answer in sample["resps"]]


def over_http(url: str, policy: str, tokenizer: Path, tasks: Path, *, as_ids: bool) -> list[float]:
    """The same from the server."""
    model = LocalCompletionsAPI(
        base_url=f"{url}/v1/completions",
        model=policy,
        tokenizer=str(tokenizer),
        tokenizer_backend="huggingface",
        tokenized_requests=as_ids,
        add_bos_token=as_ids,  # ids are taken as they are; text gets the start token from the server
        num_concurrent=1,
        batch_size=1,
    )
    return log_likelihoods(model, tasks)


def main() -> None:
    """Serve, ask both ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--limit", type=int, default=2, help="most sentences of a language")
    arguments = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lm = RoutedLM.from_pretrained(arguments.run, device="cpu")
    texts = sentences(arguments.data, lm.experts.languages, arguments.limit)
    texts = {code: rows for code, rows in texts.items() if len(rows) > 3} or texts
    command = [sys.executable, "-m", "xelm", "-q", "serve", str(arguments.run), "--port", "0", "--device", "cpu"]
    results: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        ) as server,
    ):
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            tasks, tokenizer = Path(scratch), arguments.run / "base"
            write_tasks(tasks, texts)
            for policy in ("base", "top1", "ensemble", "bayes"):
                inside = log_likelihoods(
                    HFLM(pretrained=lm.as_causal_lm(policy), tokenizer=lm.tokenizer, batch_size=1), tasks
                )
                row: dict[str, Any] = {"answers": len(inside)}
                for name, as_ids in (("ids", True), ("text", False)):
                    found = over_http(url, policy, tokenizer, tasks, as_ids=as_ids)
                    row[f"largest difference, {name} (nats an answer)"] = max(
                        abs(a - b) for a, b in zip(inside, found, strict=True)
                    )
                results[policy] = row
                print(policy, row, flush=True)
        finally:
            server.terminate()
    output = {
        "command": f"python experiments/harness/over_http.py runs/{arguments.run.name} --data ../shared/data",
        "versions": {name: version(name) for name in ("lm_eval", "torch", "transformers")},
        "results": results,
    }
    (Path(__file__).parent / "over_http.json").write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")
    worst = max(value for row in results.values() for name, value in row.items() if name.startswith("largest"))
    sys.exit(1 if worst > MOST_NATS else 0)


if __name__ == "__main__":
    main()
