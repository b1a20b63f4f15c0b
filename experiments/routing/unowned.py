"""Languages that no expert owns: where a trained run sends their texts, and the loss that costs.

    python experiments/routing/unowned.py runs/progit --data ../shared/data

Every model of the run reads sentences of SIB-200 in all languages that no expert owns, whether the run has
relatives of theirs or not. Each text then costs what the expert it was sent to costs. Bits per byte are summed over a
language's texts; means are over languages. Writes unowned.json and prints the table.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from samples import read

from clustering import family_of, match, name_of
from xelm import RoutedLM
from xelm.parts import (
    DENSE,
    Document,
    ExpertWeigher,
    OpenIdentifier,
    measure,
    mix_token_log_probs,
    route_openly,
    typological_distances,
)

LEAST_CHARACTERS = 50


def strangers(lm: RoutedLM, data: Path, split: str, limit: int) -> dict[str, list[str]]:
    """Sentences of the languages that no expert owns."""
    texts = read(data, "sib200", split)
    return {
        code: [text for text in rows if len(text) >= LEAST_CHARACTERS][:limit]
        for code, rows in sorted(texts.items())
        if match(code, lm.experts.languages) is None
    }


def by_typology_alone(lm: RoutedLM, texts: list[str]) -> list[str]:
    """Where texts would go by the plan and typology, without the run's measured losses."""
    opened = OpenIdentifier(lm.identifier)
    plan = lm.experts.plan.clusters
    own = ExpertWeigher(plan, lm.identifier.languages, lm.names)
    everywhere = ExpertWeigher(plan, opened.languages, lm.names, distances=typological_distances)
    routes = route_openly(texts, opened, own, lambda: everywhere)
    return [max(route.weights, key=lambda name: route.weights[name]) for route in routes]


def row(
    code: str, texts: list[str], lm: RoutedLM, closed: RoutedLM, log_probs: dict[str, list[np.ndarray]]
) -> dict[str, Any]:
    """Everything about one language."""
    size = sum(len(text.encode()) for text in texts) * math.log(2)

    def cost(chosen: list[str]) -> float:
        return -sum(float(log_probs[name][i].sum(dtype=np.float64)) for i, name in enumerate(chosen)) / size

    def mixed(policy: str, routed: RoutedLM, dynamic: bool) -> float:
        weights_BK = routed.weights(texts, policy)
        parts = (
            mix_token_log_probs([(w, log_probs[n][i]) for w, n in zip(row_K, lm.names, strict=True) if w > 0], dynamic)
            for i, row_K in enumerate(weights_BK)
        )
        return -sum(float(part.sum(dtype=np.float64)) for part in parts) / size

    single = {name: cost([name] * len(texts)) for name in log_probs}
    experts = {name: single[name] for name in lm.experts.names}
    home = {
        name
        for name, codes in lm.experts.plan.clusters.items()
        if family_of(code) and any(family_of(own)[:1] == family_of(code)[:1] for own in codes)
    }
    routes = lm.route(texts)
    sent = {
        "open": [max(route.weights, key=lambda name, r=route: r.weights[name]) for route in routes],
        "run": [lm.names[column] for column in closed.weights(texts, "top1").argmax(axis=1)],
        "typology alone": by_typology_alone(lm, texts),
    }
    costs = {f"top1, {mode}": cost(chosen) for mode, chosen in sent.items()}
    costs |= {"ensemble, open": mixed("ensemble", lm, False), "bayes, open": mixed("bayes", lm, True)}
    costs |= {"chance": float(np.mean(list(experts.values()))), "worst expert": max(experts.values())}
    costs |= {"base": single["base"]} | ({DENSE: single[DENSE]} if DENSE in single else {})
    best = min(experts, key=lambda name: experts[name])
    return {
        "name": name_of(code),
        "texts": len(texts),
        "named_right": float(
            np.mean([r.language is not None and match(code, [r.language]) is not None for r in routes])
        ),
        "best_expert": best,
        "best_bits_per_byte": experts[best],
        "family_experts": sorted(home),
        "to_family": {mode: float(np.mean([name in home for name in chosen])) for mode, chosen in sent.items()},
        "to_base": {mode: float(np.mean([name == "base" for name in chosen])) for mode, chosen in sent.items()},
        "family_by_chance": len(home) / len(experts),
        "bits_per_byte": {**single, **costs},
        "loss_percent": {mode: 100 * (value / experts[best] - 1) for mode, value in costs.items()},
    }


def summary(languages: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over languages, of all and of those that some expert has family of."""
    groups = {
        "with family": [entry for entry in languages.values() if entry["family_experts"]],
        "without family": [entry for entry in languages.values() if not entry["family_experts"]],
    }
    found: dict[str, Any] = {}
    for name, entries in groups.items():
        if entries:
            found[name] = {
                "languages": len(entries),
                "named_right": float(np.mean([e["named_right"] for e in entries])),
                "to_family": {m: float(np.mean([e["to_family"][m] for e in entries])) for m in entries[0]["to_family"]},
                "to_base": {m: float(np.mean([e["to_base"][m] for e in entries])) for m in entries[0]["to_base"]},
                "family_by_chance": float(np.mean([e["family_by_chance"] for e in entries])),
                "loss_percent": {
                    m: float(np.mean([e["loss_percent"][m] for e in entries])) for m in entries[0]["loss_percent"]
                },
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder with sib200/")
    parser.add_argument("--split", default="test", help="of SIB-200; choices are made on train, figures are of test")
    parser.add_argument("--limit", type=int, default=40, help="most sentences of a language")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "unowned.json")
    arguments = parser.parse_args()
    lm, closed = (RoutedLM.from_pretrained(arguments.run, device="cpu", languages=mode) for mode in ("open", "run"))
    texts_of = strangers(lm, arguments.data, arguments.split, arguments.limit)
    documents = [Document(code, text) for code, texts in texts_of.items() for text in texts]
    log_probs = {name: measure(lm.experts, lm.experts.load_model(name), documents) for name in lm.experts.models}
    languages, start = {}, 0
    for code, texts in texts_of.items():
        stop = start + len(texts)
        its = {name: rows[start:stop] for name, rows in log_probs.items()}
        languages[code] = row(code, texts, lm, closed, its)
        start = stop
    result = {
        "command": f"python experiments/routing/unowned.py runs/{arguments.run.name} --data ../shared/data",
        "limit": arguments.limit,
        "plan": lm.experts.plan.clusters,
        "summary": summary(languages),
        "languages": languages,
    }
    arguments.out.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
