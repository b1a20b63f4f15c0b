"""How fast a corpus is tokenised, beside the code of another commit and `datasets.map`; writes tokenise.json.

    python experiments/throughput/tokenise.py --data ../shared/data --tokenizer SmolLM2-135M --other ../xelm-b3b3713

The corpus is made once: sentences of Pro Git (German, Russian, English) and of the Bible (Swahili) in new orders, 1,500
characters a document, 50 MB a language; one word in 25 has its letters exchanged, so that the tail of words is as long
as in real text. Each way runs in a process of its own and writes what a run would; stores of both commits must hold the
same bytes. `datasets.map` (all cores, batches of 1,000) only makes Arrow tables of token ids, without splits,
duplicates or held-out text.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

LANGUAGES = {"deu": "progit", "rus": "progit", "eng": "progit", "swh": "bible"}
OURS = """
import sys
from pathlib import Path
from transformers import AutoTokenizer
corpus, tokenizer, out = sys.argv[1:]
def main():
    tok = AutoTokenizer.from_pretrained(tokenizer)
    try:
        from xelm.parts import Data, LanguageText, build_stores, find_sources
        texts = [LanguageText(Path(out) / source.code, source) for source in find_sources(corpus)]
        build_stores(texts, Data(path=corpus), tok)
    except ImportError:  # a commit before the languages were tokenised together
        from xelm.corpus.sources import find_sources
        from xelm.corpus.store import build_store
        from xelm.recipe import Data
        for source in find_sources(corpus):
            build_store(Path(out) / source.code, source, Data(path=corpus), tok, vocab_size=len(tok))
if __name__ == "__main__":
    main()
"""
MAP = """
import os, sys
from pathlib import Path
import datasets
from transformers import AutoTokenizer
corpus, tokenizer, out = sys.argv[1:]
def main():
    tok = AutoTokenizer.from_pretrained(tokenizer)
    files = {file.stem: str(file) for file in Path(corpus).glob("*.jsonl")}
    rows = datasets.load_dataset("json", data_files=files, cache_dir=out)
    def ids(batch):
        return {"input_ids": tok(batch["text"], add_special_tokens=False)["input_ids"]}
    cores = len(os.sched_getaffinity(0))
    rows.map(ids, batched=True, remove_columns=["text"], num_proc=cores).save_to_disk(str(Path(out) / "saved"))
if __name__ == "__main__":
    main()
"""


def make_corpus(folder: Path, data: Path, num_bytes: int) -> None:
    """Write documents of each language, if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for code, book in LANGUAGES.items():
        file = folder / f"{code}.jsonl"
        if file.is_file():
            continue
        with gzip.open(data / book / f"{code}.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        sentences = [s for text in texts for s in re.split(r"(?<=[.!?])\s+|\n", text) if len(s) > 20]
        chance, written = random.Random(code), 0
        with file.open("w", encoding="utf-8") as out:
            while written < num_bytes:
                words = " ".join(chance.choices(sentences, k=chance.randrange(3, 30))).split(" ")
                for _ in range(len(words) // 25):
                    place = chance.randrange(len(words))
                    words[place] = "".join(chance.sample(words[place], len(words[place])))
                line = json.dumps({"text": " ".join(words)}, ensure_ascii=False)
                out.write(f"{line}\n")
                written += len(line.encode())


def run(code: str, root: Path | None, corpus: Path, tokenizer: str) -> dict[str, float | str]:
    """One way in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "way.py"  # a file, since other processes import it again
        script.write_text(code, encoding="utf-8")
        out = Path(folder) / "out"
        out.mkdir()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(root)} if root else {})
        before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, str(script), str(corpus), tokenizer, str(out)]
        subprocess.run(command, check=True, env=environment, cwd=root, stderr=subprocess.DEVNULL)
        wall_s, after = time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
        sums = hashlib.sha256()
        for file in sorted(out.rglob("*.bin")):
            sums.update(file.read_bytes())
        core_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {
            "seconds": round(wall_s, 1),
            "core seconds": round(core_s, 1),
            "largest process, MiB": round(after.ru_maxrss / 1024),
            "sha256 of tokens": sums.hexdigest()[:16],
        }


def main() -> None:
    """Make the corpus, run each way, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with progit/ and bible/")
    parser.add_argument("--tokenizer", required=True, help="hub id or path")
    parser.add_argument("--other", type=Path, help="checkout of another commit")
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "xelm-tokenise")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--ways", nargs="+", choices=["ours", "other", "map"], default=["ours", "other", "map"])
    arguments = parser.parse_args()
    corpus = arguments.corpus / str(arguments.megabytes)
    make_corpus(corpus, arguments.data, arguments.megabytes * 10**6 // len(LANGUAGES))
    roots = {"ours": Path(__file__).resolve().parents[2], "other": arguments.other, "map": None}
    file = Path(__file__).with_suffix(".json")
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    rows = kept.get("rows", {})
    for way in arguments.ways:
        row = run(MAP if way == "map" else OURS, roots[way], corpus, arguments.tokenizer)
        rows[f"{way}, {arguments.megabytes} MB"] = row
        print(way, row, flush=True)
    output = {
        "tokenizer": Path(arguments.tokenizer).name,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in ("datasets", "tokenizers", "transformers")},
        "rows": rows,
    }
    file.write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
