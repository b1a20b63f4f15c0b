"""How well and how fast texts find their expert; writes results.json and results.md beside this file.

    python experiments/routing/measure.py --data ../shared/data

Two runs' worth of identifiers: the 15 languages of `progit` and the 37 of `bible`, trained on their train splits, each
with a plan of 4 clusters by typology. Tested on the test splits of `sib200` (other text than either run's) and `bible`.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from samples import cut, expected_calibration_error, flat, lines, read

import clustering
from clustering import BadInput, ClusterPlan, family_of, match
from xelm.parts import (
    CombinedIdentifier,
    ExpertWeigher,
    LangidIdentifier,
    LanguageIdentifier,
    OpenIdentifier,
    Route,
    make_identifier,
    route_openly,
    route_texts,
    typological_distances,
)

NUM_TIMED = 300


class PlainLangid:
    """The langid package as it comes, restricted to the languages."""

    def __init__(self, languages: Sequence[str]):
        from langid import langid

        self._source = langid.LanguageIdentifier.from_modelstring(langid.model, norm_probs=True)
        classes = list(self._source.nb_classes)
        self._code_of = {found: code for code in languages if (found := match(code, classes)) is not None}
        self._source.set_languages(list(self._code_of))
        self.languages = tuple(self._code_of.values())

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        posterior = np.zeros((len(texts), len(self.languages)))
        for row, text in enumerate(texts):
            for label, probability in self._source.rank(text):
                posterior[row, self.languages.index(self._code_of[label])] = probability
        return posterior


def identifiers(run: CombinedIdentifier) -> dict[str, Callable[[], LanguageIdentifier]]:
    languages = list(run.languages)
    return {
        "xelm": lambda: run,
        "xelm, n-grams only": lambda: run.ngram,
        "xelm's langid": lambda: LangidIdentifier(languages),
        "langid": lambda: PlainLangid(languages),
        "py3langid": lambda: make_identifier("py3langid", languages),
        "lingua": lambda: make_identifier("lingua", languages),
    }


def measure(
    identifier: LanguageIdentifier, plan: ClusterPlan, texts: Sequence[str], truth: Sequence[str]
) -> dict[str, Any]:
    posterior = identifier.posterior(texts)
    languages = list(identifier.languages)
    best = posterior.argmax(1)
    right = np.array([languages[b] == code for b, code in zip(best, truth, strict=True)])
    weigher = ExpertWeigher(plan.clusters, languages)
    chosen = weigher.weights(posterior).argmax(1)
    own = np.array([weigher.experts[c] == plan.cluster_of(code) for c, code in zip(chosen, truth, strict=True)])
    # Time of this process alone, whatever else the machine does.
    few = list(texts[:: max(1, len(texts) // NUM_TIMED)])[:NUM_TIMED]
    started_at_s = time.process_time()
    identifier.posterior(few)
    batch_us = (time.process_time() - started_at_s) / len(few) * 1e6
    started_at_s = time.process_time()
    for text in few:
        identifier.posterior([text])
    single_us = (time.process_time() - started_at_s) / len(few) * 1e6
    return {
        "texts": len(texts),
        "languages_answered": len(languages),
        "right_language": float(right.mean()),
        "right_expert": float(own.mean()),
        "calibration_error": expected_calibration_error(posterior.max(1), right),
        "us_per_text_in_a_batch": round(batch_us, 1),
        "us_per_text_alone": round(single_us, 1),
    }


def owned(run: CombinedIdentifier, plan: ClusterPlan, tests: dict[str, dict[str, list[str]]]) -> list[dict[str, Any]]:
    rows = []
    for name, make in identifiers(run).items():
        try:
            identifier = make()
        except BadInput as error:
            rows.append({"identifier": name, "note": str(error)})
            continue
        for test, by_language in tests.items():
            texts, truth = flat(by_language)
            rows.append({"identifier": name, "test": test, **measure(identifier, plan, texts, truth)})
    return rows


def confidence(
    run: CombinedIdentifier, tests: dict[str, dict[str, list[str]]], foreign: dict[str, list[str]], seed: int
) -> list[dict[str, Any]]:
    """Calibration of `Route.confidence`, which also says whether the text is in a language of the run at all.

    To nine texts of the run's languages comes one in another language of SIB-200, cut to the same length.
    """
    strangers = {code: rows for code, rows in foreign.items() if match(code, run.languages) is None}
    generator = np.random.default_rng(seed)
    rows = []
    for test, by_language in tests.items():
        texts, truth = flat(by_language)
        pool = flat(cut(strangers, 20) if "20" in test else strangers)[0]
        drawn = [pool[i] for i in generator.permutation(len(pool))[: len(texts) // 9]]
        posterior, familiarity = run.identify([*texts, *drawn])
        languages = [run.languages[b] for b in posterior.argmax(1)]
        right = np.array([a == b for a, b in zip(languages, [*truth, *(None for _ in drawn)], strict=True)])
        rows.append(
            {
                "test": test,
                "texts": len(texts),
                "foreign_texts": len(drawn),
                "confidence_calibration_error": expected_calibration_error(posterior.max(1) * familiarity, right),
                "mean_familiarity_own": float(familiarity[: len(texts)].mean()),
                "mean_familiarity_foreign": float(familiarity[len(texts) :].mean()),
            }
        )
    return rows


def best_of(route: Route) -> str:
    return max(route.weights, key=lambda name: route.weights[name])


def open_cost(
    run: CombinedIdentifier, plan: ClusterPlan, tests: dict[str, dict[str, list[str]]]
) -> list[dict[str, Any]]:
    """What the run's own languages lose when text may also be in others: routes restricted to the run, and open."""
    opened = OpenIdentifier(run)
    own = ExpertWeigher(plan.clusters, run.languages)
    everywhere = ExpertWeigher(plan.clusters, opened.languages, distances=typological_distances)
    ways: dict[str, Callable[[Sequence[str]], list[Route]]] = {
        "run": lambda texts: route_texts(texts, run, own),
        "open": lambda texts: route_openly(texts, opened, own, lambda: everywhere),
    }
    rows = []
    for test, by_language in tests.items():
        texts, truth = flat(by_language)
        few = texts[:: max(1, len(texts) // NUM_TIMED)][:NUM_TIMED]
        for name, way in ways.items():
            routes = way(texts)
            started_at_s = time.process_time()
            for text in few:
                way([text])
            rows.append(
                {
                    "test": test,
                    "languages": name,
                    "right_language": float(np.mean([r.language == c for r, c in zip(routes, truth, strict=True)])),
                    "right_expert": float(
                        np.mean([best_of(r) == plan.cluster_of(c) for r, c in zip(routes, truth, strict=True)])
                    ),
                    "us_per_text_alone": round((time.process_time() - started_at_s) / len(few) * 1e6, 1),
                }
            )
    return rows


def unowned(run: CombinedIdentifier, plan: ClusterPlan, texts_of: dict[str, list[str]]) -> dict[str, Any]:
    """Languages that no expert owns, but some expert has family of: share sent there, against chance."""
    opened = OpenIdentifier(run)
    own = ExpertWeigher(plan.clusters, run.languages)
    everywhere = ExpertWeigher(plan.clusters, opened.languages, distances=typological_distances)
    families = {name: {family_of(code)[:1] for code in codes} for name, codes in plan.clusters.items()}
    result: dict[str, Any] = {}
    for code, texts in texts_of.items():
        home = {name for name, known in families.items() if family_of(code)[:1] in known}
        if match(code, run.languages) is None and home and family_of(code):
            routes = route_openly(texts, opened, own, lambda: everywhere)
            named = [route.language is not None and match(code, [route.language]) is not None for route in routes]
            result[code] = {
                "to_family": float(np.mean([best_of(route) in home for route in routes])),
                "by_chance": len(home) / len(families),
                "named_right": float(np.mean(named)),
                "texts": len(texts),
            }
    return result


def own_tests(data: Path, languages: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    sib = {code: rows for code, rows in read(data, "sib200", "test").items() if code in languages}
    whole = {code: [t for t in rows if len(t) >= 50] for code, rows in sib.items()}
    return {"sib200, sentences of 50 characters or more": whole, "sib200, first 20 characters": cut(sib, 20)}


def markdown(results: dict[str, Any]) -> str:
    parts = [
        "# Routing: results",
        "",
        f"Command: `{results['command']}`; {results['machine']}; {results['versions']}.",
        "",
    ]
    for run, result in results["runs"].items():
        parts += [f"## Languages of `{run}` ({result['num_languages']}), 4 experts", ""]
        parts += [f"- {name}: {', '.join(codes)}" for name, codes in result["plan"].items()] + [""]
        parts += [
            "| test | identifier | texts | right language | right expert | calibration error "
            "| CPU µs a text in a batch | CPU µs alone |"
        ]
        parts += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
        for row in sorted((r for r in result["identifiers"] if "test" in r), key=lambda r: r["test"]):
            parts.append(
                f"| {row['test']} | {row['identifier']} | {row['texts']} | {row['right_language']:.2%} | "
                f"{row['right_expert']:.2%} | {row['calibration_error']:.3f} | {row['us_per_text_in_a_batch']:.0f} | "
                f"{row['us_per_text_alone']:.0f} |"
            )
        parts += [""] + [f"- {r['identifier']}: {r['note']}" for r in result["identifiers"] if "note" in r]
        parts += [
            f"- Route confidence, {r['test']}, one foreign text to nine: calibration error "
            f"{r['confidence_calibration_error']:.3f}; mean familiarity {r['mean_familiarity_own']:.2f} of own, "
            f"{r['mean_familiarity_foreign']:.2f} of foreign texts"
            for r in result["confidence"]
        ]
        parts += [
            f'- Routes, {r["test"]}, `languages="{r["languages"]}"`: {r["right_language"]:.2%} to the right language, '
            f"{r['right_expert']:.2%} to the right expert, {r['us_per_text_alone']:.0f} CPU µs a text alone"
            for r in result["open"]
        ]
        shares = result["unowned"]
        if shares:
            mean = np.mean([s["to_family"] for s in shares.values()])
            chance = np.mean([s["by_chance"] for s in shares.values()])
            named = np.mean([s["named_right"] for s in shares.values()])
            parts += [
                "",
                f"Languages no expert owns, but an expert has family of: {mean:.1%} of texts go to an expert with "
                f"family (by chance {chance:.1%}), {named:.1%} are named "
                "right: " + ", ".join(f"{c} {s['to_family']:.0%}" for c, s in shares.items()) + ".",
            ]
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with bible/, progit/ and sib200/")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    runs: dict[str, Any] = {}
    sib = {code: [t for t in rows if len(t) >= 50] for code, rows in read(arguments.data, "sib200", "test").items()}
    for name in ("progit", "bible"):
        started_at_s = time.perf_counter()
        run = CombinedIdentifier.train(read(arguments.data, name, "train"), seed=arguments.seed)
        train_s = time.perf_counter() - started_at_s
        plan = clustering.cluster_languages(list(run.languages), k=4)
        tests = own_tests(arguments.data, run.languages)
        if name == "bible":
            known = LangidIdentifier().languages
            held_out = {c: rows for c, rows in read(arguments.data, name, "test").items() if match(c, known) is None}
            drawn = lines(held_out, 50, 100, arguments.seed)
            tests["bible, lines of 50 characters or more, languages unknown to langid"] = drawn
            tests["bible, first 20 characters, languages unknown to langid"] = cut(drawn, 20)
        runs[name] = {
            "num_languages": len(run.languages),
            "train_s": round(train_s, 1),
            "softening": run.softening,
            "plan": {cluster: list(codes) for cluster, codes in plan.clusters.items()},
            "identifiers": owned(run, plan, tests),
            "open": open_cost(run, plan, tests),
            "confidence": confidence(run, tests, sib, arguments.seed),
            "unowned": unowned(run, plan, sib),
        }
    packages = [name for name in ("langid", "py3langid", "numpy", "scipy") if find_spec(name)]
    results = {
        "command": f"python experiments/routing/measure.py --data ../shared/data --seed {arguments.seed}",
        "machine": f"one thread, {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{package} {version(package)}" for package in packages),
        "runs": runs,
    }
    here = Path(__file__).parent
    (here / "results.json").write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (here / "results.md").write_text(markdown(results), encoding="utf-8")
    print(markdown(results))


if __name__ == "__main__":
    main()
