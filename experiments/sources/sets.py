"""Sets of sources measured: topic classification of SIB-200 by character n-grams, trained on several languages at once.

    python -m experiments.sources.sets ../shared/data/sib200 --out experiments/sources/sets.json

Each target's sources are chosen from the other languages by the train sentences of all: the set of `rank_sources(…,
sets=k)`, as many of the best single sources, and random sets. A naive Bayes classifier on hashed character n-grams is
trained on the sources' labelled sentences, and its accuracy on the target's test sentences is the figure.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from tabulate import tabulate

from xelm import rank_sources
from xelm.parts import profile_texts

TARGETS = (
    *("afr", "bul", "ces", "dan", "deu", "eng", "eus", "fra", "hin", "ind", "ita", "lvs", "nld", "pol", "por", "rus"),
    *("slv", "spa", "srp", "swh", "tur", "ukr", "urd", "yor", "zul"),
)
_RANDOM_SETS = 3


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--sizes", default="1,2,3,5", show_default=True, help="Sizes of the sets.")
@click.option("--out", type=click.Path(path_type=Path), help="Write every figure as JSON.")
def main(data: Path, sizes: str, out: Path | None) -> None:
    """Compare sets of sources on each target."""
    texts = {code: rows for code in TARGETS if (rows := read(data, code))}
    results = {int(size): measure(texts, int(size)) for size in sizes.split(",")}
    click.echo(show(results))
    if out:
        out.write_text(json.dumps({"languages": list(texts), "sizes": results}, indent=1) + "\n", encoding="utf-8")


def read(data: Path, code: str) -> list[dict[str, Any]]:
    """Rows of a language in SIB-200's usual script; none if the folder lacks it."""
    files = sorted(data.glob(f"{code}_*.jsonl.gz"))
    if not files:
        return []
    with gzip.open(files[0], "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def measure(texts: dict[str, list[dict[str, Any]]], size: int) -> dict[str, dict[str, float]]:
    """Accuracy by target and way to choose."""
    profiles = {
        code: profile_texts(row["text"] for row in rows if row["split"] == "train") for code, rows in texts.items()
    }
    found: dict[str, dict[str, float]] = {"set": {}, "best singles": {}, "random": {}}
    for number, target in enumerate(texts):
        report = rank_sources(target, [code for code in texts if code != target], profiles, sets=size)
        codes = report.ranking.codes()
        generator = np.random.default_rng(number)
        draws = [generator.choice(codes, size, replace=False).tolist() for _ in range(_RANDOM_SETS)]
        found["set"][target] = accuracy(texts, tuple(sorted(report.best_set.languages())), target)
        found["best singles"][target] = accuracy(texts, tuple(sorted(codes[:size])), target)
        found["random"][target] = float(np.mean([accuracy(texts, tuple(sorted(draw)), target) for draw in draws]))
    return found


_KNOWN: dict[tuple[tuple[str, ...], str], float] = {}
_GRAMS: dict[tuple[str, str], tuple[Any, list[str]]] = {}


def accuracy(texts: dict[str, list[dict[str, Any]]], sources: Sequence[str], target: str) -> float:
    """Accuracy on the target's test sentences after training on the sources' train sentences."""
    key = (tuple(sources), target)
    if key not in _KNOWN:
        from scipy.sparse import vstack
        from sklearn.naive_bayes import ComplementNB

        parts = [_grams(texts, code, "train") for code in sources]
        model = ComplementNB(alpha=0.3).fit(vstack([part for part, _ in parts]), [c for _, own in parts for c in own])
        grams, truth = _grams(texts, target, "test")
        _KNOWN[key] = float(np.mean(model.predict(grams) == np.array(truth)))
    return _KNOWN[key]


def _grams(texts: dict[str, list[dict[str, Any]]], code: str, split: str) -> tuple[Any, list[str]]:
    """Counts of hashed character 3- and 4-grams of a language's sentences, and their categories."""
    if (code, split) not in _GRAMS:
        from sklearn.feature_extraction.text import HashingVectorizer

        hasher = HashingVectorizer(
            analyzer="char_wb", ngram_range=(3, 4), n_features=1 << 16, norm=None, alternate_sign=False
        )
        rows = [row for row in texts[code] if row["split"] == split]
        _GRAMS[code, split] = hasher.transform([row["text"] for row in rows]), [row["category"] for row in rows]
    return _GRAMS[code, split]


def show(results: dict[int, dict[str, dict[str, float]]]) -> str:
    """Means over targets, and the set's lead over as many best singles with a bootstrap interval over targets."""
    rows = []
    for size, found in results.items():
        means = [100 * float(np.mean(list(found[way].values()))) for way in found]
        lead = 100 * (np.array(list(found["set"].values())) - np.array(list(found["best singles"].values())))
        draws = np.random.default_rng(0).integers(len(lead), size=(2000, len(lead)))
        low, high = np.quantile(lead[draws].mean(axis=1), [0.025, 0.975])
        rows.append([size, *(f"{mean:.1f}" for mean in means), f"{lead.mean():+.1f} ({low:+.1f} to {high:+.1f})"])
    heads = ["sources", *next(iter(results.values())), "set - best singles"]
    return f"{len(next(iter(results.values()))['set'])} targets\n" + tabulate(rows, heads, disable_numparse=True)


if __name__ == "__main__":
    main()
