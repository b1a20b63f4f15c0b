"""`xelm cluster`: group languages by typology, show what the grouping rests on, save the plan."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from clustering.errors import BadInput
from xelm.cli._listed import Listed

_MOST_DOCUMENTS = 1000
"""Documents read of each language for clusters by text."""


def _methods() -> str:
    from clustering.plans.methods import methods_in_words

    return methods_in_words()


def _kinds() -> str:
    from clustering.distances.kinds import kinds_in_words

    return kinds_in_words()


@click.command(
    "cluster",
    epilog="\b\nExample:\n  xelm cluster de nl sv ru bg pl tr az -k 3 --out plan.json --plot tree.svg\n"
    "  xelm cluster de nl sv ru bg pl tr az --suggest-k",
)
@click.argument("languages", nargs=-1, required=True, metavar="LANG...")
@click.option("-k", "--clusters", "k", type=int, help="Number of clusters, one expert each.")
@click.option("--method", cls=Listed, words=_methods, help="How to group:")
@click.option("--balance", type=click.Choice(["languages", "tokens"]), help="Make clusters near equal in size.")
@click.option("--tokens", multiple=True, metavar="LANG=N", help="Training tokens of a language, for --balance tokens.")
@click.option(
    "--distance",
    cls=Listed,
    words=_kinds,
    help="What to measure (default: combined), alone or in a mean such as syntactic+genetic:",
)
@click.option("--distances", type=click.Path(path_type=Path), help="Your own matrix or vectors (.csv, .npz) instead.")
@click.option("--corpus", help="Text of the languages (as [data] path): group by it, with --method tfidf or --model.")
@click.option("--model", help="Group as this base model sees the languages (hub id or path); needs --corpus.")
@click.option("--stability", is_flag=True, help="Also say how far clusters hold under resampled features.")
@click.option("--suggest-k", is_flag=True, help="Show quality for K = 1 to the number of languages.")
@click.option("--out", type=click.Path(path_type=Path), help="Save the plan (JSON).")
@click.option("--plot", type=click.Path(path_type=Path), help="Save the tree as a picture (.svg, .png, .pdf).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
def command(
    languages: tuple[str, ...],
    k: int | None,
    method: str | None,
    balance: str | None,
    tokens: tuple[str, ...],
    distance: str | None,
    distances: Path | None,
    corpus: str | None,
    model: str | None,
    stability: bool,
    suggest_k: bool,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Group languages (any codes or English names) into K clusters: the plan for K experts."""
    from clustering.plans.make import DEFAULT_METHOD, cluster_languages
    from clustering.plans.methods import find_method

    if sum(map(bool, (distance, distances, corpus))) > 1:
        raise BadInput("--distance measures typology, --distances reads a file, --corpus reads text: give one of them.")
    method = method or DEFAULT_METHOD
    if find_method(method).needs == "texts" and not (distance or distances or corpus):
        raise BadInput(f"--method {method} groups by text: add --corpus FOLDER.")
    if balance == "tokens" and not tokens:
        raise BadInput("--balance tokens needs the training tokens of every language: add --tokens LANG=N for each.")
    if model and not corpus:
        raise BadInput("--model reads text of each language: give --corpus too.")
    options: dict[str, Any] = {"balance": balance, "tokens": _tokens(tokens), "distances": distance}
    if distances:
        from clustering.distances.own import load_distances

        options["distances"] = load_distances(distances)
    if model and corpus:
        from xelm.models.language_vectors import model_distances

        options["distances"] = model_distances(model, corpus, languages)
    elif corpus:
        options["texts"] = _texts(corpus, languages)
    if suggest_k:
        if k is not None or out or plot:
            raise BadInput("--suggest-k only shows the choice: run it without -k, --out and --plot.")
        _suggest(languages, method, options, stability, as_json)
        return
    if k is None:
        raise BadInput("How many clusters? Give -k, or --suggest-k to see what each number would give.")
    plan = cluster_languages(languages, k, method, stability=stability, **options)
    if out:
        plan.save(out)
    if plot:
        from clustering.plans.picture import plot_tree

        plot_tree(plan, plot)
    if as_json:
        from clustering.plans.plan import plan_to_json

        click.echo(json.dumps(plan_to_json(plan), ensure_ascii=False, indent=1))
        return
    click.echo(_plan_text(plan))
    for what, path in (("plan", out), ("tree", plot)):
        if path:
            click.echo(f"{what}: {path}")


def _texts(corpus: str, languages: tuple[str, ...]) -> dict[str, list[str]]:
    from itertools import islice

    from clustering.corpora.find import find_sources

    sources = find_sources(corpus, languages)
    return {source.code: list(islice(source.texts(), _MOST_DOCUMENTS)) for source in sources}


def _tokens(pairs: tuple[str, ...]) -> dict[str, int] | None:
    tokens = {}
    for pair in pairs:
        language, _, number = pair.partition("=")
        try:
            tokens[language] = int(float(number.replace("_", "")))
        except (ValueError, OverflowError):
            raise BadInput(f"--tokens {pair}: write LANG=NUMBER, such as --tokens swa=2000000.") from None
    return tokens or None


def _suggest(languages: tuple[str, ...], method: str, options: dict[str, Any], stability: bool, as_json: bool) -> None:
    from clustering.plans.make import suggest_k

    rows = suggest_k(languages, method, stability=stability, **options)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=1))
        return
    from tabulate import tabulate

    # K = 1 has no silhouette, and at K = L every language is alone: neither can be the best.
    best = max(rows[1:-1], key=lambda row: row.quality.silhouette or -1.0, default=None)
    table = [
        [
            row.k,
            _figure(row.quality.silhouette) + (" *" if row is best else ""),
            _figure(row.quality.balance),
            _figure(row.quality.family_purity),
            *([_figure(row.quality.stability)] if stability else []),
            row.largest,
        ]
        for row in rows
    ]
    headers = ["K", "silhouette", "balance", "family purity", *(["stability"] if stability else []), "largest"]
    click.echo(tabulate(table, headers, stralign="left", disable_numparse=True))
    click.echo("* best separated. More experts cost nothing to run, but each sees fewer tokens and languages.")


def _plan_text(plan: Any) -> str:
    from clustering.languages.codes import name_of

    lines = []
    for name, codes in plan.clusters.items():
        lines.append(f"{name}: {', '.join(name_of(code) for code in codes)}")
    if plan.coverage:
        lines += ["", *_coverage_lines(plan)]
    quality = plan.quality
    figures = [f"balance {_figure(quality.balance)}", f"family purity {_figure(quality.family_purity)}"]
    if quality.silhouette is not None:
        figures.insert(0, f"silhouette {_figure(quality.silhouette)}")
    if quality.stability is not None:
        figures.append(f"stability {_figure(quality.stability)}")
    return "\n".join([*lines, "", f"{plan.method} on {plan.distances.kind} distances: {', '.join(figures)}"])


def _coverage_lines(plan: Any) -> list[str]:
    from tabulate import tabulate

    from clustering.languages.codes import name_of

    table, guessed = [], []
    for code in plan.languages:
        covered = plan.coverage[code]
        read_as = "" if covered.uriel_code == code else f"read as {covered.uriel_code}"
        table.append([code, name_of(code), f"{covered.num_known}/{covered.num_total}", read_as])
        if covered.num_known == 0:
            guessed.append(name_of(code))
    lines = tabulate(table, ["code", "language", "features known", ""], disable_numparse=True).splitlines()
    if guessed:
        lines.append(
            f"Nothing is known of the features of {', '.join(guessed)}: predictions from relatives and neighbours "
            "stand in. Check where they landed."
        )
    return lines


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
