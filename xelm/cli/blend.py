"""`xelm blend`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from xelm.blending.blend import blend
from xelm.cli._options import Command, is_typed, options_of, print_json


@click.command(
    "blend",
    cls=Command,
    epilog="\b\nExample:\n  xelm blend runs/a --auto\n  xelm blend runs/a --keep 0.75\n"
    "  xelm blend runs/a --put-back --lose 0.1\n"
    "  xelm blend runs/a --keep 1    # undo, to the byte",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--keep", type=float, help="λ: how much of the way from the base to each expert is kept; 1 undoes.")
@click.option("--auto", is_flag=True, help="Choose λ for each expert on valid text (the default).")
@click.option("--put-back", is_flag=True, help="Instead: put whole layers back to the base, the least missed first.")
@options_of(blend, names=("lose",))
@click.option(
    "--unread/--no-unread",
    default=None,
    help="Put the rows of pieces that an expert never read back to the base (default: with --auto, where it pays).",
)
@click.option("--json", "as_json", is_flag=True, help="Print λ, own gain and cost elsewhere as JSON.")
def command(
    run: Path, keep: float | None, auto: bool, put_back: bool, lose: float, unread: bool | None, as_json: bool
) -> None:
    """Move the experts of RUN part of the way back to the base: base + λ (expert - base). Nothing is trained."""
    from xelm.blending.text import blend_table, blend_text

    if keep is not None and (auto or put_back or is_typed("lose")):
        raise click.UsageError("--keep names λ; --auto, --put-back and --lose have it chosen: give one of the two.")
    if auto and put_back:
        raise click.UsageError("--auto moves experts as a whole, --put-back some of their layers: give one of the two.")
    layers: Literal["auto"] | None = "auto" if put_back else None
    experts = blend(run, keep="auto" if keep is None else keep, lose=lose, put_back=layers, unread=unread)
    if as_json:
        print_json(blend_table(experts))
    else:
        click.echo(blend_text(experts))
