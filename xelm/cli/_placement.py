"""Options of commands that open a run: the device of its models, and the languages that a text may be in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from xelm.cli._options import option, options_of
from xelm.inference.models import Placement

Function = TypeVar("Function", bound=Callable[..., Any])


def languages_option(function: Function) -> Function:
    """Add `--languages`, named as in `RoutedLM.from_pretrained`."""
    return option(
        "--languages",
        default="open",
        show_default=True,
        type=click.Choice(["open", "run"]),
        group="Models",
        help="open: a text may be in any language, and the base answers in one that no expert was trained on; "
        "run: every text counts as one of the run's languages.",
    )(function)


def placement_options(function: Function) -> Function:
    """Add `--device`, `--dtype`, `--max-loaded` and `--languages`, named as in `RoutedLM.from_pretrained`."""
    function = languages_option(function)
    return options_of(Placement, group="Models", names=("device", "dtype", "max_loaded"))(function)
