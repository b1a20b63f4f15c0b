"""Options that commands share which open a run: where experts go and how many, and which languages are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def languages_option(command: Command) -> Command:
    """Add `--languages`, named as `RoutedLM.from_pretrained` takes it."""
    return click.option(
        "--languages",
        default="open",
        show_default=True,
        type=click.Choice(["open", "run"]),
        help="open: a text in a language that no expert owns goes to the nearest by typology; run: every text counts "
        "as one of the run's languages.",
    )(command)


def placement_options(command: Command) -> Command:
    """Add `--device`, `--dtype`, `--max-loaded` and `--languages`, named as `RoutedLM.from_pretrained` takes them."""
    command = languages_option(command)
    for option in reversed(
        [
            click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …"),
            click.option("--dtype", default="auto", show_default=True, help="Of the weights: bfloat16, float32, …"),
            click.option("--max-loaded", type=click.IntRange(min=1), help="Most experts in memory; default: all."),
        ]
    ):
        command = option(command)
    return command
