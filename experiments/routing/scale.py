"""What routing costs as experts and languages become many; writes scale.json beside this file.

    python experiments/routing/scale.py --data ../shared/data

Languages beyond those of SIB-200 are made from them: their letters exchanged within each script by a fixed permutation,
so that a made language has the statistics of a real one and shares few n-grams with it. Every two languages share an
expert. Measured in one thread: training and opening the identifier and the weigher, routing in batches of 64 texts of
about 120 characters, the same one at a time, and how many experts `bayes` runs.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import Any

import iso639
import numpy as np
from samples import read

from xelm.parts import CombinedIdentifier, ExpertWeigher, OpenIdentifier, apply_policy, route_openly

SIZES = (50, 200)
BATCH, TEXTS = 64, 640


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


def measure(train: dict[str, list[str]], test: dict[str, list[str]], num_experts: int) -> dict[str, Any]:
    """Times for so many experts with two languages each."""
    codes = list(train)
    plan = {f"e{i}": codes[2 * i : 2 * i + 2] for i in range(num_experts)}
    experts = [*plan, "base"]
    generator = np.random.default_rng(0)
    losses = {
        name: {code: 2.0 + 0.5 * generator.random() - 0.6 * (code in plan.get(name, ())) for code in codes}
        for name in experts
    }
    row: dict[str, Any] = {"experts": num_experts, "languages": len(codes)}
    with tempfile.TemporaryDirectory() as folder:
        CombinedIdentifier.train(train, seed=0).save(folder)
        started_s = time.process_time()
        run = CombinedIdentifier.load(folder)
        weigher = ExpertWeigher(plan, codes, experts, losses=losses, base="base")
        opened = OpenIdentifier(run)
        whole = ExpertWeigher(plan, opened.languages, experts, losses=losses, base="base")
        row["opening (CPU s)"] = round(time.process_time() - started_s, 2)
    texts = [rows[i % len(rows)][:120] for i in range(TEXTS) for rows in [test[codes[i % len(codes)]]]]
    route_openly(texts[:2], opened, weigher, lambda: whole)  # what is made at the first text
    started_s = time.process_time()
    routes = [
        r for i in range(0, TEXTS, BATCH) for r in route_openly(texts[i : i + BATCH], opened, weigher, lambda: whole)
    ]
    row["route, batches of 64 (CPU ms a text)"] = round(1e3 * (time.process_time() - started_s) / TEXTS, 3)
    started_s = time.process_time()
    for text in texts[:64]:
        route_openly([text], opened, weigher, lambda: whole)
    row["route, alone (CPU ms a text)"] = round(1e3 * (time.process_time() - started_s) / 64, 3)
    weights_BK = np.array([[route.weights.get(name, 0.0) for name in experts] for route in routes])
    kept_BK = apply_policy(weights_BK, "bayes", experts)
    sorted_BK = -np.sort(-weights_BK, axis=1)
    carrying_B = (np.cumsum(sorted_BK, axis=1) - sorted_BK < 0.999).sum(axis=1)
    row["experts that bayes runs, mean"] = round(float((kept_BK > 0).sum(axis=1).mean()), 2)
    row["experts that carry 99.9 % of the weight, mean"] = round(float(carrying_B.mean()), 2)
    return row


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    arguments = parser.parse_args()
    train, test = (made_languages(read(arguments.data, "sib200", split), 2 * SIZES[-1]) for split in ("train", "test"))
    rows = []
    for size in SIZES:
        codes = list(train)[: 2 * size]
        rows.append(measure({code: train[code][:200] for code in codes}, test, size))
        print(rows[-1], flush=True)
    output = {"command": "python experiments/routing/scale.py --data ../shared/data", "rows": rows}
    (Path(__file__).parent / "scale.json").write_text(json.dumps(output, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
