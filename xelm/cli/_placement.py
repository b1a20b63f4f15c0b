"""Options of commands that open a run: the device of its models, and the languages that a text may be in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from xelm.cli._options import options_of
from xelm.inference.models import Placement
from xelm.inference.routed import RoutedLM
from xelm.inference.run_router import LANGUAGES

Function = TypeVar("Function", bound=Callable[..., Any])


languages_option = options_of(
    RoutedLM.from_pretrained, group="Models", names=("languages",), languages={"type": click.Choice(LANGUAGES)}
)
"""Add `--languages`, named as in `RoutedLM.from_pretrained`."""


def placement_options(function: Function) -> Function:
    """Add `--device`, `--dtype`, `--max-loaded` and `--languages`, named as in `RoutedLM.from_pretrained`."""
    function = languages_option(function)
    return options_of(Placement, group="Models", names=("device", "dtype", "max_loaded"))(function)
