"""Fit the constants of router's identifiers on text that no measurement uses; prints them beside those in use.

    python experiments/routing/fit_constants.py --data ../shared/data

N-gram tables are trained on the train splits of `progit` and `bible`; constants are fitted on SIB-200's train sentences
(other text than the tables have seen) and on the two books' valid splits. Test splits are never read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from samples import cut, flat, lines, read
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from clustering import match
from xelm.parts import (
    FOREIGN_ODDS,
    SWITCH_COST,
    CombinedIdentifier,
    ExpertWeigher,
    LangidIdentifier,
    NgramIdentifier,
    OpenIdentifier,
    route_openly,
    segment,
)

LENGTHS = (20, 50, 150)
SMALL_SIZES = (1, 2, 3, 4, 6, 10)
NUM_FOREIGN = 4
NUM_JOINED = 100


# The constants that are fitted here stand in the modules of the identifiers.
combined = sys.modules[CombinedIdentifier.__module__]
langid = sys.modules[LangidIdentifier.__module__]
ngrams = sys.modules[NgramIdentifier.__module__]


def some(texts: dict[str, list[str]], limit: int = 60) -> dict[str, list[str]]:
    return {code: rows[:limit] for code, rows in texts.items()}


def minimum(loss: Callable[[np.ndarray], float], start: list[float]) -> list[float]:
    return [round(float(x), 3) for x in minimize(loss, start, method="Nelder-Mead").x]


def nll(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(-np.maximum(log_softmax(logits, axis=1)[np.arange(len(truth)), truth], -30).mean())


def langid_temperature(sib: dict[str, list[str]]) -> list[float]:
    identifier = LangidIdentifier()
    classes = list(identifier.languages)
    own = {code: rows for code, rows in sib.items() if match(code, classes) is not None}
    texts, codes = flat({c: [t[:n] for n in LENGTHS for t in rows] for c, rows in some(own).items()})
    truth = np.array([classes.index(str(match(code, classes))) for code in codes])
    scores, lengths = identifier.log_likelihoods(texts)
    return minimum(lambda x: nll(scores / (x[0] * lengths ** x[1])[:, None], truth), [1.0, 0.5])


def run_texts(run: CombinedIdentifier, sib: dict[str, list[str]]) -> tuple[list[str], np.ndarray]:
    own = {code: rows for code, rows in some(sib).items() if code in run.languages}
    texts, codes = flat({code: [t[:n] for n in LENGTHS for t in rows] for code, rows in own.items()})
    return texts, np.array([list(run.languages).index(code) for code in codes])


def ngram_temperature(runs: list[CombinedIdentifier], sib: dict[str, list[str]]) -> list[float]:
    sets = []
    for run in runs:
        texts, truth = run_texts(run, sib)
        sets.append((*run.ngram.evidence(texts), truth))
    return minimum(
        lambda x: sum(nll(e / (x[0] * np.maximum(n, 1) ** x[1])[:, None], t) for e, n, t in sets), [4.0, 0.5]
    )


def combination(runs: list[CombinedIdentifier], sib: dict[str, list[str]]) -> list[float]:
    """Scale and power of the n-grams' temperature, share of langid, and what it says of languages unknown to it."""
    classes = list(LangidIdentifier().languages)
    sets = []
    for run in runs:
        texts, truth = run_texts(run, sib)
        opinion = np.log(LangidIdentifier().posterior(texts).clip(1e-300))
        columns = np.array([classes.index(m) if (m := match(c, classes)) else -1 for c in run.languages])
        sets.append((*run.ngram.evidence(texts), opinion[:, columns], columns < 0, truth))

    def loss(x: np.ndarray) -> float:
        return sum(
            nll(e / (x[0] * np.maximum(n, 1) ** x[1])[:, None] + x[2] * np.where(unknown, x[3], q), t)
            for e, n, q, unknown, t in sets
        )

    return minimum(loss, [5.0, 0.55, 0.5, -5.0])


def small_runs(run: CombinedIdentifier, sib: dict[str, list[str]]) -> list[CombinedIdentifier]:
    """Runs of few languages, as most are: random ones of this run's that SIB-200 has too, with their tables."""
    generator = np.random.default_rng(0)
    codes = [code for code in run.languages if code in sib]
    found = []
    for size in SMALL_SIZES * 3:
        chosen = generator.choice(codes, size, replace=False)
        tables = {code: run.ngram.tables[code] for code in map(str, chosen)}
        found.append(CombinedIdentifier(NgramIdentifier(tables), run.use_langid, run.softening))
    return found


def familiarity(
    runs: list[CombinedIdentifier], texts_of: list[dict[str, list[str]]], sib: dict[str, list[str]]
) -> dict[str, list[float]]:
    """Coefficients of `familiarity_features` and the constant, where langid knows the best language and where not.

    Foreign are the texts of other languages, and those of a run's own after the language was taken out of it.
    """
    features, foreign, known = [], [], []

    def add(identifier: CombinedIdentifier, code: str, texts: list[str]) -> None:
        x, knows, respelt = identifier.familiarity_features(texts)
        features.append(x[~respelt])
        known.append(knows[~respelt])
        foreign.append(np.full((~respelt).sum(), code not in identifier.languages))

    for run, own_texts in zip(runs, texts_of, strict=True):
        cuts = {code: [[t[:n] for t in rows] for n in LENGTHS] for code, rows in own_texts.items()}
        for code, by_length in cuts.items():
            for seen_by in (run, run.without_language(code)) if code in run.languages else (run,):
                add(seen_by, code, [t for rows in by_length for t in rows])
        for small in small_runs(run, sib):
            for code, by_length in cuts.items():
                few = len(by_length[0]) if code in small.languages else NUM_FOREIGN
                add(small, code, [t for rows in by_length for t in rows[:few]])
    x, own, knows = np.concatenate(features), ~np.concatenate(foreign), np.concatenate(known)
    found = {}
    for name, rows in (("known", knows), ("unknown", ~knows)):
        # langid's odds say nothing where it does not know the language.
        columns = np.arange(x.shape[1]) if name == "known" else np.array([0, *range(2, x.shape[1])])
        model = LogisticRegression(class_weight="balanced", C=100, max_iter=3000).fit(x[rows][:, columns], own[rows])
        coefficients = np.zeros(x.shape[1])
        coefficients[columns] = model.coef_[0]
        found[name] = [round(float(v), 2) for v in (*coefficients, model.intercept_[0])]
    return found


def sent_away(
    runs: list[CombinedIdentifier], sib: dict[str, list[str]]
) -> dict[tuple[float, int], tuple[float, float]]:
    """By odds and length: share of own texts taken for foreign, and of foreign ones that langid knows found."""
    found = {}
    for length in (20, 1000):
        odds_own, odds_foreign = [], []
        for run in runs:
            opened = OpenIdentifier(run)
            for code, rows in some(sib).items():
                if match(code, opened.languages) is None:
                    continue
                texts = [t[:length] for t in rows if len(t) >= min(length, 50)]
                posterior, familiarity, others = opened.identify(texts)
                odds = (1 - familiarity) * others.max(1) / (familiarity * posterior.max(1))
                (odds_foreign if match(code, run.languages) is None else odds_own).append(odds)
        own, foreign = np.concatenate(odds_own), np.concatenate(odds_foreign)
        for least in (1.0, 2.0, 4.0, 9.0, 20.0):
            found[least, length] = round(float((own > least).mean()), 4), round(float((foreign > least).mean()), 4)
    return found


def switch_costs(run: CombinedIdentifier, sib: dict[str, list[str]]) -> dict[float, float]:
    """Share of characters in the right language, by cost, in texts of one to three languages."""
    generator = np.random.default_rng(0)
    codes = [code for code in sib if code in run.languages]
    cases = []
    for _ in range(100):
        parts = []
        for code in generator.choice(codes, generator.integers(1, 4), replace=False):
            sentence = sib[code][generator.integers(len(sib[code]))]
            parts.append((code, sentence[: generator.choice([30, 60, 120])].rsplit(" ", 1)[0] + " "))
        cases.append(parts)
    shares = {}
    for cost in (2.0, 4.0, 6.0, 8.0, 10.0, 15.0):
        right = total = 0
        for parts in cases:
            truth = [code for code, text in parts for _ in text]
            for span in segment("".join(text for _, text in parts), run, switch_cost=cost):
                right += sum(code == span.language for code in truth[span.start : span.stop])
            total += len(truth)
        shares[cost] = round(right / total, 4)
    return shares


def span_cuts(run: CombinedIdentifier, sib: dict[str, list[str]]) -> dict[tuple[str, str], float]:
    """Share of characters in the right language, cut by the run's languages or by all, and routed openly in the end.

    Texts: of one language of the run joined to one that langid alone knows, and of the latter alone.
    """
    opened = OpenIdentifier(run)
    plan = {"any": list(run.languages)}
    own, everywhere = ExpertWeigher(plan, run.languages), ExpertWeigher(plan, opened.languages)
    known = [code for code in sib if code in run.languages]
    foreign = [code for code in sib if match(code, run.languages) is None and match(code, opened.languages)]
    right = dict.fromkeys([(cut_by, kind) for cut_by in ("run", "all") for kind in ("joined", "foreign")], 0.0)
    generator = np.random.default_rng(0)
    for _ in range(NUM_JOINED):
        first, second = str(generator.choice(known)), str(generator.choice(foreign))
        parts = [(c, sib[c][generator.integers(len(sib[c]))][:120] + " ") for c in (first, second)]
        for kind, chosen in (("joined", parts), ("foreign", parts[1:])):
            text, truth = "".join(t for _, t in chosen), [c for c, t in chosen for _ in t]
            for cut_by, identifier in (("run", run), ("all", opened)):
                spans = segment(text, identifier)
                routes = route_openly([text[s.start : s.stop] for s in spans], opened, own, lambda: everywhere)
                hits = sum(
                    match(code, [str(route.language)]) is not None if route.language else False
                    for span, route in zip(spans, routes, strict=True)
                    for code in truth[span.start : span.stop]
                )
                right[cut_by, kind] += hits / len(truth) / NUM_JOINED
    return {key: round(share, 3) for key, share in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with bible/, progit/ and sib200/")
    data = parser.parse_args().data
    sib = read(data, "sib200", "train")
    books = ("progit", "bible")
    runs = [CombinedIdentifier.train(read(data, book, "train")) for book in books]
    valid = [lines(read(data, book, "valid"), 150, 20) for book in books]
    held_out = [{c: [*some(sib, 40).get(c, []), *own.get(c, [])] for c in {**sib, **own}} for own in valid]
    print("langid temperature", langid_temperature(sib), (langid.TEMPERATURE_SCALE, langid.TEMPERATURE_POWER))
    print("n-gram temperature", ngram_temperature(runs, sib), (ngrams.TEMPERATURE_SCALE, ngrams.TEMPERATURE_POWER))
    used = (combined.NGRAM_SCALE, combined.NGRAM_POWER, combined.LANGID_SHARE, combined.LANGID_UNKNOWN)
    print("combination", combination(runs, sib), used)
    print("familiarity", familiarity(runs, held_out, sib), (combined.FAMILIAR_KNOWN, combined.FAMILIAR_UNKNOWN))
    print("characters right by cut and text", [span_cuts(run, sib) for run in runs])
    print("sent away by odds and length", sent_away(runs, sib), FOREIGN_ODDS)
    print(
        "characters right by switch cost",
        switch_costs(runs[0], {c: cut({c: r}, 40)[c] for c, r in sib.items()}),
        SWITCH_COST,
    )


if __name__ == "__main__":
    main()
