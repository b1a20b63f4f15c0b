"""A language that the base knows and no expert owns: does its text go to the base?

    python experiments/routing/base_language.py runs/smollm2 --language eng --data ../shared/data

If the run has the language, takes it out of a copy (out of plan, identifier and measured losses; the weights stay as
they are). Routes SIB-200's test sentences in it, lets the models probe some of them, and routes the rest again. Prints
JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from samples import read

from clustering import match
from xelm import ClusterPlan, ExpertSet, RoutedLM
from xelm.parts import CombinedIdentifier, Manifest, read_json, write_json

LEAST_CHARACTERS = 50


def forget(run: Path, code: str) -> None:
    """Take a language out of what routes; nobody owns it then."""
    plan = ClusterPlan.load(run / "plan.json")
    kept = {name: [own for own in codes if own != code] for name, codes in plan.clusters.items()}
    ClusterPlan(kept, "by hand").save(run / "plan.json")
    CombinedIdentifier.load(run / "router").without_language(code).save(run / "router")
    for file in (run / "eval").glob("*.json"):
        table = read_json(file)
        for cells in (table.get("models", {}), table.get("routed", {}), table.get("routed_by_text", {})):
            for by_language in cells.values():
                by_language.pop(code, None)
        for values in (table.get("owners", {}), table.get("right_expert", {})):
            values.pop(code, None)
        write_json(file, table)
    manifest = Manifest.read(run)
    for name, codes in kept.items():
        manifest.experts[name].languages[:] = codes
    manifest.write(run)


def best_of(lm: RoutedLM, texts: list[str]) -> dict[str, int]:
    """Model of most weight -> number of texts."""
    return dict(Counter(max(r.weights, key=lambda name, r=r: r.weights[name]) for r in lm.route(texts)))


def main() -> None:
    """Forget, route, probe, route."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a trained run; it is copied")
    parser.add_argument("--language", default="eng")
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--probed", type=int, default=8, help="sentences that the models read")
    arguments = parser.parse_args()
    found = [rows for code, rows in read(arguments.data, "sib200", "test").items() if match(arguments.language, [code])]
    texts = [text for rows in found for text in rows if len(text) >= LEAST_CHARACTERS]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(
            shutil.copytree(arguments.run, Path(folder) / "run", ignore=shutil.ignore_patterns("dense", "work"))
        )
        if arguments.language in ExpertSet.load(copy).languages:
            forget(copy, arguments.language)
        lm = RoutedLM(ExpertSet.load(copy), device="cpu")
        before = best_of(lm, texts[arguments.probed :])
        reason = lm.route(texts[-1:])[0].reason
        losses = lm.probe(texts[: arguments.probed])
        output = {
            "experts": {name: list(codes) for name, codes in lm.experts.plan.clusters.items()},
            "sentences": len(texts) - arguments.probed,
            "most weight": before,
            "reason": reason,
            "probed, bits per byte": {name: round(by[arguments.language], 4) for name, by in losses.items()},
            "most weight after the probe": best_of(lm, texts[arguments.probed :]),
        }
    print(json.dumps(output, indent=1))


if __name__ == "__main__":
    main()
