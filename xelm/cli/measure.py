"""`xelm measure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xelm.cli._options import Command, options_of, print_json
from xelm.launch.options import Launch

if TYPE_CHECKING:
    from clustering import Effects


@click.command(
    "measure",
    cls=Command,
    epilog="\b\nExample:\n  xelm measure recipe.toml --out effects.json\n"
    "  xelm cluster deu nld rus bul -k 2 --effects effects.json --out plan.json",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File of the effects (JSON).")
@click.option("--share", type=float, default=0.05, help="Part of [train] tokens for all branches together.")
@click.option("--run", type=click.Path(path_type=Path), help="Take the base of this run, if made from the same recipe.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, such as train.tokens=1e6."
)
@click.option("--dry-run", is_flag=True, help="Read everything and print what measuring would cost; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the effects and the advice.")
@options_of(Launch, group="Machines", flags={"time_min": "--time", "mem_gib": "--mem"})
def command(
    recipe: Path,
    out: Path,
    share: float,
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
    from xelm.measuring.measure import measure_effects, measuring_bill

    launch = Launch(**machines)
    if dry_run:
        bill = measuring_bill(recipe, overrides=overrides, share=share)
        if as_json:
            print_json(bill.to_dict())
        else:
            click.echo(bill.to_text())
        return
    effects = measure_effects(recipe, out, overrides=overrides, share=share, run=run, launch=launch)
    advice = advise(effects)
    if as_json:
        print_json({**effects.to_dict(), "advice": advice.to_dict()}, indent=1)
        return
    click.echo(effects_text(effects))
    click.echo("\n".join(advice.sentences()))
    click.echo(f"effects: {out}")


def effects_text(effects: Effects) -> str:
    """The matrix in percent, and what measuring took."""
    from tabulate import tabulate

    rows = [
        [code, *(f"{100 * cell:+.1f}" for cell in row)]
        for code, row in zip(effects.languages, effects.matrix, strict=True)
    ]
    table = tabulate(rows, headers=["trained on", *effects.languages], disable_numparse=True, stralign="right")
    share = 100 * effects.tokens / effects.budget_tokens if effects.budget_tokens else 0.0
    return (
        f"change of bits of each language (columns) after a branch of another (rows), percent\n{table}\n"
        f"{effects.tokens:,} tokens of branches, {share:.1f} % of the budget"
    )
