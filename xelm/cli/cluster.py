"""`xelm cluster`: group languages, show what the grouping rests on, save the plan."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clustering.errors import BadInput
from clustering.plans.make import DEFAULT_METHOD, cluster_languages
from xelm.cli._listed import Listed
from xelm.cli._options import Command, option, options_of, print_json

if TYPE_CHECKING:
    from clustering import ClusterPlan

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
    cls=Command,
    words={"texts": "--corpus FOLDER", "tokens": "--tokens LANG=N", "distances": "--distance"},
    epilog="\b\nExample:\n  xelm cluster de nl sv ru bg pl tr az -k 3 --out plan.json --plot tree.svg\n"
    "  xelm cluster de nl sv ru bg pl tr az --suggest-k",
)
@click.argument("languages", nargs=-1, required=True, metavar="LANG...")
@click.option("-k", "--clusters", "k", type=int, help="Number of clusters, one expert each.")
@click.option("--suggest-k", is_flag=True, help="Show the quality of every number of clusters, and make no plan.")
@click.option("--method", cls=Listed, words=_methods, help="How to group:")
@options_of(cluster_languages, names=("balance",))
@click.option("--tokens", multiple=True, metavar="LANG=N", help="Training tokens of a language, for --balance tokens.")
@options_of(cluster_languages, names=("stability",))
@click.option(
    "--distance",
    cls=Listed,
    words=_kinds,
    group="What is measured (one of these)",
    help="Typology, by default combined, alone or in a mean such as syntactic+genetic:",
)
@option(
    "--distances",
    "distances_file",
    type=click.Path(path_type=Path),
    group="What is measured (one of these)",
    help="Your own matrix or vectors (.csv, .npz).",
)
@option(
    "--corpus",
    group="What is measured (one of these)",
    help="Text of the languages, as in [data] path; with --method tfidf or --model.",
)
@option(
    "--model",
    group="What is measured (one of these)",
    help="How this base model (hub id or path) sees the text of --corpus.",
)
@option(
    "--effects",
    type=click.Path(path_type=Path),
    group="What is measured (one of these)",
    help="What training on one language does to the others, as `xelm measure` found.",
)
@option("--out", type=click.Path(path_type=Path), group="Results", help="Save the plan (JSON).")
@option(
    "--plot",
    type=click.Path(path_type=Path),
    group="Results",
    help="Save the tree (.svg, .png, .pdf), or a page with tree and map (.html).",
)
@option("--json", "as_json", is_flag=True, group="Results", help="Print the plan as JSON.")
def command(
    languages: tuple[str, ...],
    k: int | None,
    method: str | None,
    balance: str | None,
    tokens: tuple[str, ...],
    effects: Path | None,
    stability: bool,
    suggest_k: bool,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
    **measured: Any,
) -> None:
    """Group languages (any codes or English names) into K clusters: the plan for K experts."""
    if sum(map(bool, (measured["distance"], measured["distances_file"], measured["corpus"], effects))) > 1:
        raise BadInput(
            "--distance measures typology, --distances and --effects read files, --corpus reads text: give one of them."
        )
    if effects and stability:
        raise BadInput("--stability resamples typological features, of which --effects has none: leave it out.")
    options = {"balance": balance, "tokens": _tokens(tokens), **_evidence(languages, **measured)}
    method = method or DEFAULT_METHOD
    if suggest_k:
        if k is not None or out or plot:
            raise BadInput("--suggest-k makes no plan: run it without -k, --out and --plot.")
        if effects:
            _advise(languages, effects, as_json)
        else:
            _suggest(languages, method, options, stability, as_json)
        return
    if k is None:
        raise BadInput("How many clusters? Give -k N, or --suggest-k to see the quality of every number.")
    plan = cluster_languages(languages, k, method, stability=stability, effects=effects, **options)
    _show(plan, out, plot, as_json)


def _evidence(
    languages: tuple[str, ...], distance: str | None, distances_file: Path | None, corpus: str | None, model: str | None
) -> dict[str, Any]:
    """What a plan rests on, as arguments of `cluster_languages`: a kind of distance, distances, or texts."""
    if model and not corpus:
        raise BadInput("--model reads text of each language: add --corpus FOLDER.")
    if distances_file:
        from clustering.distances.own import load_distances

        return {"distances": load_distances(distances_file)}
    if model and corpus:
        from xelm.models.language_vectors import model_distances

        return {"distances": model_distances(model, corpus, languages)}
    return {"distances": distance, "texts": _texts(corpus, languages) if corpus else None}


def _show(plan: ClusterPlan, out: Path | None, plot: Path | None, as_json: bool) -> None:
    """Save the plan and its tree where they are wanted, and print it."""
    if out:
        plan.save(out)
    if plot:
        from clustering.plans.picture import plot_tree

        plot_tree(plan, plot)
    if as_json:
        from clustering.plans.plan import plan_to_json

        print_json(plan_to_json(plan), indent=1)
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
        print_json([asdict(row) for row in rows], indent=1)
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
    click.echo(
        "* best separated. More experts make no answer slower, but each is trained on fewer tokens and languages."
    )


def _advise(languages: tuple[str, ...], file: Path, as_json: bool) -> None:
    """Whether to split at all, and what each number of clusters would spare, by measured effects."""
    from clustering.languages.codes import to_codes
    from clustering.plans.advice import advise
    from clustering.plans.effects import Effects

    advice = advise(Effects.load(file), to_codes(languages))
    if as_json:
        print_json(advice.to_dict(), indent=1)
        return
    from tabulate import tabulate

    rows = [
        [
            f"{row.k}{' *' if row.k == advice.k else ''}",
            f"{row.cost:+.3f}",
            f"{100 * row.spared:+.2f}",
            max(map(len, row.plan.clusters.values())),
        ]
        for row in advice.rows
    ]
    headers = ["K", "effects within clusters", "spared a language, %", "largest"]
    click.echo(tabulate(rows, headers, stralign="left", disable_numparse=True))
    click.echo("\n".join(advice.sentences()))


def _plan_text(plan: ClusterPlan) -> str:
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
    kind = plan.distances.kind if plan.distances else "unknown"
    return "\n".join([*lines, "", f"{plan.method} on {kind} distances: {', '.join(figures)}"])


def _coverage_lines(plan: ClusterPlan) -> list[str]:
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
            f"Nothing is known of the features of {', '.join(guessed)}: predictions from related and neighbouring "
            "languages are used instead. Check the clusters they are in."
        )
    return lines


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
