"""`xelm measure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clustering.errors import BadInput
from xelm.cli._options import Command, options_of, print_json
from xelm.launch.options import Launch
from xelm.measuring.measure import measure_effects, measuring_bill

if TYPE_CHECKING:
    from clustering import Effects


@click.command(
    "measure",
    cls=Command,
    epilog="\b\nExample:\n  xelm measure recipe.toml --out effects.json\n"
    "  xelm cluster deu nld rus bul -k 2 --effects effects.json --out plan.json",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@options_of(
    measure_effects,
    without=("recipe", "launch"),
    flags={"overrides": "--set"},
    overrides={"metavar": "KEY=VALUE"},
    only={"metavar": "LANG"},
)
@click.option("--plan", type=click.Path(path_type=Path), help="With --only: say where in this plan it fits.")
@click.option("--dry-run", is_flag=True, help="Read everything and print what measuring would cost; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the effects and the advice.")
@options_of(Launch, group="Machines", flags={"time_min": "--time", "mem_gib": "--mem"})
def command(
    recipe: Path,
    out: Path,
    share: float,
    only: tuple[str, ...],
    plan: Path | None,
    run: Path | None,
    overrides: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **machines: Any,
) -> None:
    """Measure what training on each language does to every other: a short branch of each from the base of RECIPE.

    Run the same command again to resume.
    """
    from clustering.plans.advice import advise

    launch = Launch(**machines)
    if plan and not only:
        raise BadInput("--plan says where languages measured alone fit: name them with --only.")
    if dry_run:
        bill = measuring_bill(recipe, overrides=overrides, share=share)
        if as_json:
            print_json(bill.to_dict())
        else:
            click.echo(bill.to_text())
        return
    options: dict[str, Any] = {
        "overrides": overrides,
        "share": share,
        "only": only or None,
        "run": run,
        "launch": launch,
    }
    effects = measure_effects(recipe, out, **options)
    if only:
        _show_places(effects, only, plan, as_json)
        return
    advice = advise(effects)
    if as_json:
        print_json({**effects.to_dict(), "advice": advice.to_dict()}, indent=1)
        return
    click.echo(effects_text(effects))
    click.echo("\n".join(advice.sentences()))
    click.echo(f"effects: {out}")


def _show_places(effects: Effects, only: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    from clustering import ClusterPlan
    from clustering.plans.measured import nearest_cluster

    plan = ClusterPlan.load(file) if file else None
    places = {language: nearest_cluster(effects, language, plan) if plan else {} for language in only}
    if as_json:
        print_json({**effects.to_dict(), "places": places}, indent=1)
        return
    click.echo(effects_text(effects))
    for language, means in places.items():
        for name, mean in means.items():
            click.echo(f"{language} in {name}: {100 * mean:+.2f} % bits of its languages on average")


def effects_text(effects: Effects) -> str:
    """The matrix in percent, and what measuring took."""
    from tabulate import tabulate

    rows = [
        [code, *(f"{100 * cell:+.1f}" for cell in row)]
        for code, row in zip(effects.languages, effects.matrix, strict=True)
        if code in effects.probe.tokens
    ]
    table = tabulate(rows, headers=["trained on", *effects.languages], disable_numparse=True, stralign="right")
    share = 100 * effects.tokens / effects.budget_tokens if effects.budget_tokens else 0.0
    shorter = "" if effects.costs is effects.matrix else "; plans are made from shorter branches, not shown here"
    return (
        f"change of bits of each language (columns) after a branch of another (rows), percent\n{table}\n"
        f"{effects.tokens:,} tokens of branches, {share:.1f} % of the budget{shorter}"
    )
