"""Options that all commands share which load experts: where they go, and how many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def placement_options(command: Command) -> Command:
    """Add `--device`, `--dtype` and `--max-loaded`, named as `RoutedLM.from_pretrained` takes them."""
    for option in reversed(
        [
            click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …"),
            click.option("--dtype", default="auto", show_default=True, help="Of the weights: bfloat16, float32, …"),
            click.option("--max-loaded", type=click.IntRange(min=1), help="Most experts in memory; default: all."),
        ]
    ):
        command = option(command)
    return command
